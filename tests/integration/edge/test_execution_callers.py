"""The users that may run a function and see its executions (http-api.md 3.5, 7.18-7.21), and what the code learns of
them."""

import msgspec
import pytest

from annals.app.services import Services
from annals.store.content.inputs import open_input
from annals.store.log import compact_states
from annals.store.secrets.tokens import UserClaims, verify
from tests.integration.edge.client import Client
from tests.integration.edge.executor import FakeExecutor
from tests.integration.edge.given import execute, running_function, signed_in, user


@pytest.fixture
async def u1(plain: Client) -> Client:
    await user(plain, "u1", email="u1@x.test")
    return await signed_in(plain, "u1")


@pytest.fixture
async def u2(plain: Client) -> Client:
    await user(plain, "u2")
    return await signed_in(plain, "u2")


@pytest.mark.behaviours(101, 102)
async def test_user_runs_functions_that_their_roles_may_execute(services: Services, key: Client) -> None:
    await user(key, "u1")
    await user(key, "u2")
    function_id = await running_function(services, key, execute=["user:u1"])

    mine = await execute(await signed_in(key, "u1"), function_id)
    assert mine.status == 201
    assert mine.json["$permissions"] == ['read("user:u1")']
    assert (mine.json["logs"], mine.json["errors"]) == ("", "")
    assert (await execute(await signed_in(key, "u2"), function_id)).error == (401, "user_unauthorized")


@pytest.mark.behaviours(103, 104, 105, 106)
@pytest.mark.parametrize(
    ("opened_to", "guests", "users", "keys"),
    [(["any"], 201, 201, 201), (["users"], 401, 201, 201), (["guests"], 201, 401, 201), ([], 401, 401, 201)],
)
async def test_execute_lists_apply_to_guests_and_users_and_never_to_keys(
    services: Services, plain: Client, u1: Client, *, opened_to: list[str], guests: int, users: int, keys: int
) -> None:
    function_id = await running_function(services, plain, execute=opened_to)
    guest = plain.with_(x_appwrite_key=None)

    for client, status in ((guest, guests), (u1, users), (plain, keys)):
        reply = await execute(client, function_id)
        assert reply.status == status
        if status == 401:
            assert reply.error == (401, "user_unauthorized")
    assert (await execute(guest, function_id)).json.get("$permissions", []) == []


async def test_verification_labels_and_teams_open_functions(services: Services, plain: Client, u1: Client) -> None:
    verified = await running_function(services, plain, execute=["users/verified"])
    labelled = await running_function(services, plain, execute=["label:vip"])
    owners = await running_function(services, plain, execute=["team:t/owner"])
    members = await running_function(services, plain, execute=["team:t"])
    every = (verified, labelled, owners, members)
    assert [(await execute(u1, one)).status for one in every] == [401] * 4

    await plain.patch("/v1/users/u1/verification/phone", phoneVerification=True)
    await plain.put("/v1/users/u1/labels", labels=["vip"])
    await plain.post("/v1/teams", teamId="t", name="T")
    member = (await plain.post("/v1/teams/t/memberships", userId="u1", roles=["dev"])).json["$id"]

    assert [(await execute(u1, one)).status for one in every] == [201, 201, 401, 201]
    await plain.patch(f"/v1/teams/t/memberships/{member}", roles=["owner"])
    assert (await execute(u1, owners)).status == 201
    await plain.delete(f"/v1/teams/t/memberships/{member}")
    assert [(await execute(u1, one)).status for one in (owners, members)] == [401, 401]


async def test_invitation_opens_nothing_before_it_is_accepted(
    services: Services, plain: Client, u1: Client, u2: Client
) -> None:
    team = (await u1.post("/v1/teams", teamId="t", name="T")).json
    function_id = await running_function(services, plain, execute=["team:t"])
    invited = (await u1.post(f"/v1/teams/{team['$id']}/memberships", userId="u2", roles=["dev"])).json

    assert (await execute(u2, function_id)).status == 401
    await u2.patch(f"/v1/teams/t/memberships/{invited['$id']}/status", userId="u2", secret="x")
    assert (await execute(u2, function_id)).status == 201


@pytest.mark.behaviours(107)
async def test_disabled_function_is_not_found_for_users(services: Services, plain: Client, u1: Client) -> None:
    function_id = await running_function(services, plain, execute=["any"], enabled=False)

    assert (await execute(u1, function_id)).error == (404, "function_not_found")
    assert (await u1.get(f"/v1/functions/{function_id}/executions")).error == (404, "function_not_found")
    assert (await execute(plain, function_id)).status == 201


@pytest.mark.behaviours(121, 122, 128)
async def test_users_see_their_own_executions_and_delete_none(
    services: Services, plain: Client, u1: Client, u2: Client
) -> None:
    function_id = await running_function(services, plain, execute=["users"])
    mine, other = (await execute(u1, function_id)).json["$id"], (await execute(u2, function_id)).json["$id"]
    path = f"/v1/functions/{function_id}/executions"

    listed = (await u1.get(path)).json
    assert ([row["$id"] for row in listed["executions"]], listed["total"]) == ([mine], 1)
    assert (await u1.get(f"{path}/{mine}")).json["logs"] == ""
    assert (await u1.get(f"{path}/{other}")).error == (404, "execution_not_found")
    assert (await u1.delete(f"{path}/{mine}")).error == (404, "function_not_found")
    assert (await plain.get(path)).json["total"] == 2


async def test_code_gets_the_callers_identity_and_a_token_to_act_for_them(
    services: Services, plain: Client, u1: Client, executor: FakeExecutor
) -> None:
    function_id = await running_function(services, plain, execute=["any"], timeout=20)
    await execute(u1, function_id)
    headers = dict(executor.runs[-1].headers)

    assert headers["x-appwrite-user-id"] == "u1"
    code = u1.with_(x_appwrite_session=None, x_appwrite_jwt=headers["x-appwrite-user-jwt"])
    assert (await code.get("/v1/account")).json["$id"] == "u1"
    claims = verify(headers["x-appwrite-user-jwt"], await services.token_secret("p1"), 0, UserClaims)
    assert 20 <= claims.exp - services.now().timestamp() <= 81

    await execute(code, function_id)
    for client in (plain, plain.with_(x_appwrite_key=None)):
        await execute(client, function_id)
    answer = [dict(run.headers) for run in executor.runs[1:]]
    assert [one["x-appwrite-user-id"] for one in answer] == ["u1", "", ""]
    assert [one["x-appwrite-user-jwt"] for one in answer] == ["", "", ""]

    await u1.delete("/v1/account/sessions")
    assert (await code.get("/v1/account")).error == (401, "general_unauthorized_scope")


async def test_scheduled_runs_keep_the_caller_and_its_session(services: Services, plain: Client, u1: Client) -> None:
    function_id = await running_function(services, plain, execute=["any"])
    session = (await u1.get("/v1/account/sessions/current")).json["$id"]
    token = (await u1.post("/v1/account/jwts")).json["jwt"]
    by_token = u1.with_(x_appwrite_session=None, x_appwrite_jwt=token)
    later = {"async_": True, "scheduledAt": "2099-01-01 00:00"}

    for client, sent, expected in (
        (u1, {"async_": True}, session), (u1, later, ""), (by_token, {"async_": True}, None), (plain, later, None),
    ):  # fmt: skip
        made = (await execute(client, function_id, **sent)).json
        stream = f"execution:p1:{made['$id']}"
        row = await services.database.row("SELECT data FROM contents WHERE stream = %s AND kind = 'input'", (stream,))
        assert row is not None
        given = await open_input(services.vault, "p1", stream, bytes(row["data"]))
        assert given.token_session == expected
        born = await services.database.value("SELECT sequence FROM users WHERE user_id = 'u1'")
        assert given.user_incarnation == (0 if client is plain else born)
        assert made["$permissions"] == ([] if client is plain else ['read("user:u1")'])


async def test_events_name_the_acting_user(services: Services, plain: Client, u1: Client) -> None:
    function_id = await running_function(services, plain, execute=["any"])
    made = (await execute(u1, function_id)).json

    row = await services.database.row(
        "SELECT state FROM events WHERE originator_id = %s ORDER BY originator_version LIMIT 1",
        (f"execution:p1:{made['$id']}",),
    )
    assert row is not None
    assert msgspec.json.decode(compact_states.plain(row["state"]))["metadata"]["actor"] == "user:u1"
