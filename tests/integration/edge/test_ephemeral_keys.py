"""Ephemeral keys depend on the credential that made them: they end with it, and events name both."""

from datetime import datetime, timedelta
from typing import Any

from annals.app.identity.secret_keys import digest
from annals.app.services import Services
from annals.app.wiring import open_services
from annals.domain.function import Function
from annals.domain.project import CONSOLE, ApiKey, Project
from annals.domain.user import User
from annals.settings import Settings
from annals.store.secrets.tokens import user_token
from annals.telemetry.metrics import Metrics
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.executor import FakeExecutor
from tests.integration.edge.test_as_of import follow
from tests.routes import edge_of

EPHEMERAL = "/v1/project/keys/ephemeral"
META = given.META


async def ephemeral(maker: Client, *scopes: str, duration: int = 3600) -> dict[str, Any]:
    reply = await maker.post(EPHEMERAL, scopes=list(scopes), duration=duration)
    assert reply.status == 201, reply.body
    made: dict[str, Any] = reply.json
    return made


async def holder(client: Client, maker: Client, *scopes: str) -> Client:
    """A client with an ephemeral key of the maker's."""
    return client.with_(x_appwrite_key=(await ephemeral(maker, *scopes))["secret"])


async def code_of(client: Client, executor: FakeExecutor, function_id: str) -> Client:
    """A client with the key that a function's code was given in an execution."""
    assert (await given.execute(client, function_id)).status == 201
    return client.with_(x_appwrite_key=dict(executor.runs[-1].headers)["x-appwrite-key"])


async def test_ephemeral_key_ends_in_every_process_when_its_key_is_revoked(
    settings: Settings, services: Services, plain: Client
) -> None:
    child = await holder(plain, plain, "functions.read")
    async with open_services(settings, FakeExecutor(), Metrics()) as others:
        edge = edge_of(others)
        other = Client(edge, child.headers)
        assert (await child.get("/v1/functions")).status == (await other.get("/v1/functions")).status == 200

        await services.log.run(Project.revoke_key, Project.key("p1"), meta=META, key_id="all")

        for client in (other, child):
            assert (await client.get("/v1/functions")).error == (401, "general_unauthorized_scope")


async def test_ephemeral_key_makes_no_other_keys(plain: Client, executor: FakeExecutor, services: Services) -> None:
    function_id = await given.running_function(services, plain, scopes=["keys.write", "functions.read"])
    for child in (
        await holder(plain, plain, "keys.write", "functions.read"),
        await code_of(plain, executor, function_id),
    ):
        refused = await child.post(EPHEMERAL, scopes=["functions.read"], duration=60)

        assert refused.error == (401, "user_unauthorized")
        assert "API key" in refused.message


async def test_jwt_of_an_admin_makes_no_keys(admin: Client, anonymous: Client, services: Services) -> None:
    secret = await services.token_secret(CONSOLE)
    expires = services.now().timestamp() + 60
    born = await services.database.value("SELECT sequence FROM users WHERE user_id = 'ada'")
    for session_id in ("s1", ""):
        jwt = user_token("ada", session_id, incarnation=born, expires=expires, secret=secret)
        refused = await anonymous.with_(x_appwrite_jwt=jwt).post("/v1/projects/p1/jwts", scopes=["users.read"])
        assert refused.error == (401, "user_unauthorized")
    assert (await admin.post("/v1/projects/p1/jwts", scopes=["users.read"])).status == 201


async def test_ephemeral_key_expires_no_later_than_its_parent(services: Services, plain: Client) -> None:
    soon = services.now() + timedelta(seconds=90)
    brief = ApiKey(key_id="brief", name="brief", digest=digest("brief"), scopes=["keys.write"], expires_at=soon)
    await services.log.run(Project.add_key, Project.key("p1"), meta=META, key=brief)

    made = await ephemeral(plain.with_(x_appwrite_key="brief"), "keys.write")

    assert datetime.fromisoformat(made["expire"]) <= soon


async def test_ephemeral_key_of_an_admin_ends_with_the_session(
    admin: Client, plain: Client, services: Services
) -> None:
    acting = admin.with_(x_appwrite_mode="admin", x_appwrite_project="p1")
    by_key_route = await holder(plain, acting, "functions.read")
    made = await admin.post("/v1/projects/p1/jwts", scopes=["functions.read"])
    by_jwt_route = plain.with_(x_appwrite_key=made.json["jwt"])
    for client in (by_key_route, by_jwt_route):
        assert (await client.get("/v1/functions")).status == 200

    await services.log.run(User.close_session, User.key(CONSOLE, "ada"), meta=META, session_id="s1")

    for client in (by_key_route, by_jwt_route):
        assert (await client.get("/v1/functions")).error == (401, "general_unauthorized_scope")


async def test_key_of_running_code_ends_with_its_function(
    services: Services, plain: Client, executor: FakeExecutor
) -> None:
    function_id = await given.running_function(services, plain, functionId="f", scopes=["users.read"])
    code = await code_of(plain, executor, function_id)
    assert (await code.get("/v1/users")).status == 200
    assert (await code.get("/v1/functions")).error == (401, "general_unauthorized_scope")
    assert (await code.with_(x_appwrite_key=f"{code.headers['x-appwrite-key']}x").get("/v1/users")).status == 401

    await services.log.run(Function.delete, Function.key("p1", "f"), meta=META)
    assert (await code.get("/v1/users")).error == (401, "general_unauthorized_scope")

    await given.function(plain, functionId="f", scopes=["users.read"])
    assert (await code.get("/v1/users")).error == (401, "general_unauthorized_scope")


async def test_key_of_running_code_loses_the_scopes_that_its_function_loses(
    services: Services, plain: Client, executor: FakeExecutor
) -> None:
    function_id = await given.running_function(services, plain, scopes=["users.read", "teams.read"])
    code = await code_of(plain, executor, function_id)

    await plain.put(f"/v1/functions/{function_id}", name="fn", scopes=["teams.read", "functions.read"])

    assert (await code.get("/v1/teams")).status == 200
    assert (await code.get("/v1/users")).error == (401, "general_unauthorized_scope")
    assert (await code.get("/v1/functions")).error == (401, "general_unauthorized_scope")


async def test_events_name_an_ephemeral_key_and_its_parent(
    services: Services, plain: Client, executor: FakeExecutor
) -> None:
    key = await ephemeral(plain, "users.write")
    await plain.with_(x_appwrite_key=key["secret"]).post("/v1/users", userId="ada")
    function_id = await given.running_function(services, plain, name="Sign up", scopes=["users.write"])
    code = await code_of(plain, executor, function_id)
    await code.post("/v1/users", userId="bob")
    execution_id = executor.runs[-1].execution

    by_key = {"type": "key", "id": "all", "name": "all", "credential": {"type": "ephemeral", "id": key["$id"]}}
    of_execution = {"type": "execution", "id": execution_id}
    by_code = {"type": "function", "id": function_id, "name": "Sign up", "credential": of_execution}
    for user_id, actor in (("ada", by_key), ("bob", by_code)):
        history = await plain.get(f"/v1/users/{user_id}/history")
        assert [event["actor"] for event in history.json["events"]] == [actor]


async def test_feed_of_a_key_holds_the_events_of_its_ephemeral_keys(services: Services, plain: Client) -> None:
    key = await ephemeral(plain, "users.write")
    await plain.with_(x_appwrite_key=key["secret"]).post("/v1/users", userId="ada")
    await plain.post("/v1/users", userId="bob")
    neighbour = ApiKey(key_id="all0", name="all0", digest=digest("all0"), scopes=["users.write"])
    await services.log.run(Project.add_key, Project.key("p1"), meta=META, key=neighbour)
    await plain.with_(x_appwrite_key="all0").post("/v1/users", userId="eve")
    await follow(services)

    async def made_by(actor: str) -> list[str]:
        feed = await plain.get("/v1/events", type="user.created", actor=actor)
        return sorted(event["resourceId"] for event in feed.json["events"])

    assert await made_by("key:all") == ["ada", "bob"]
    assert await made_by(f"key:all/ephemeral:{key['$id']}") == ["ada"]
    assert await made_by("key") == ["ada", "bob", "eve"]


async def test_request_repeated_with_a_renewed_ephemeral_key_is_carried_out_once(plain: Client) -> None:
    fields = {"functionId": "unique()", "name": "fn", "runtime": "node-22"}
    replies = []
    for _ in range(2):
        child = await holder(plain, plain, "functions.write")
        replies.append(await child.with_(idempotency_key="once").json("POST", "/v1/functions", fields))

    assert [reply.status for reply in replies] == [201, 201]
    assert replies[0].json["$id"] == replies[1].json["$id"]
