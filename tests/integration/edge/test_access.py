"""Permissions, and the order of their checks (behaviours.md A)."""

import asyncio

import msgspec
import pytest

from annals.app.identity.secret_keys import digest
from annals.app.services import Services
from annals.app.wiring import open_services
from annals.domain.project import ApiKey, Project
from annals.settings import Settings
from annals.store.log.log import Meta
from annals.telemetry.metrics import Metrics
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.executor import FakeExecutor
from tests.routes import edge_of


@pytest.mark.behaviours(2, 3)
async def test_unknown_route_or_method_answers_in_the_envelope(key: Client) -> None:
    assert (await key.get("/v1/functions2")).error == (404, "general_route_not_found")
    assert (await key.patch("/v1/functions")).error == (404, "general_route_not_found")


@pytest.mark.behaviours(4, 12, 48)
@pytest.mark.parametrize("path", ["/v1/functions", "/v1/functions/specifications", "/v1/functions/f/executions"])
async def test_error_of_a_guest_names_the_missing_scope(keys: list[Client], path: str) -> None:
    for key in keys:
        reply = await key.with_(x_appwrite_key=None).get(path)

        assert reply.error == (401, "general_unauthorized_scope")
        assert "role: guests" in reply.message
        assert "functions.read" in reply.message or "execution.read" in reply.message


@pytest.mark.behaviours(6, 11)
async def test_scopes_are_checked_before_parameters(key: Client) -> None:
    reply = await key.with_(x_appwrite_key="p1-read").json("POST", "/v1/functions", {"functionId": "_"})

    assert reply.error == (401, "general_unauthorized_scope")
    assert "functions.write" in reply.message
    assert "role: applications" in reply.message


async def test_scopes_are_checked_before_a_read_answers(key: Client) -> None:
    reader = key.with_(x_appwrite_key="p1-none")

    assert (await reader.get("/v1/functions/nope")).error == (401, "general_unauthorized_scope")
    assert (await reader.get("/v1/functions", ["nonsense"])).error == (401, "general_unauthorized_scope")


@pytest.mark.behaviours(7, 8, 9)
async def test_keys_belong_to_a_project_that_is_named(key: Client) -> None:
    assert (await key.with_(x_appwrite_key="p2-all").get("/v1/functions")).error == (401, "user_unauthorized")
    assert (await key.with_(x_appwrite_project="nope").get("/v1/functions")).error == (404, "project_not_found")
    newest = key.headers.get("x-appwrite-response-format") == "2.5.0"
    expected = (403, "project_id_missing") if newest else (401, "user_unauthorized")
    assert (await key.with_(x_appwrite_project=None).get("/v1/functions")).error == expected
    assert (await key.with_(x_appwrite_project="console").get("/v1/functions")).error == (401, "user_unauthorized")


async def test_old_versions_take_the_project_as_a_parameter(plain: Client) -> None:
    assert (await plain.with_(x_appwrite_project=None).get("/v1/functions", project="p1")).status == 200


async def test_expired_key_has_an_error_of_its_own(services: Services, plain: Client) -> None:
    expired = ApiKey(
        key_id="old", name="old", digest=digest("old"), scopes=["functions.read"], expires_at=services.now()
    )
    await services.log.run(Project.add_key, Project.key("p1"), meta=Meta(actor="test"), key=expired)

    assert (await plain.with_(x_appwrite_key="old").get("/v1/functions")).error == (401, "project_key_expired")


async def test_revoked_key_is_refused_at_once_by_every_process(settings: Settings, services: Services) -> None:
    async with open_services(settings, FakeExecutor(), Metrics()) as others:
        edge = edge_of(others)
        other = Client(edge, {"x-appwrite-project": "p1", "x-appwrite-key": "p1-read"})
        assert (await other.get("/v1/functions")).status == 200

        await services.log.run(Project.revoke_key, Project.key("p1"), meta=Meta(actor="test"), key_id="read")

        assert (await other.get("/v1/functions")).error == (401, "user_unauthorized")


@pytest.mark.behaviours(10)
async def test_public_operations_need_no_caller_and_no_project(anonymous: Client) -> None:
    assert (await anonymous.get("/v1/functions/runtimes")).status == 200
    assert (await anonymous.get("/v1/functions/templates")).status == 200
    assert (await anonymous.get("/v1/functions/templates/starter")).error == (401, "general_access_forbidden")
    assert (await anonymous.get("/v1/functions")).error == (401, "general_unauthorized_scope")
    assert (await anonymous.post("/v1/functions/f/executions")).error == (401, "general_access_forbidden")


@pytest.mark.behaviours(13)
async def test_forged_jwt_is_refused(key: Client) -> None:
    assert (await key.with_(x_appwrite_jwt="garbage").get("/v1/functions")).error == (401, "user_jwt_invalid")


@pytest.mark.behaviours(14)
async def test_invalid_json_body_is_an_empty_set(key: Client) -> None:
    for body in (b"{", b'"text"', b"\xff", b""):
        reply = await key.send("POST", "/v1/functions", content_type="application/json", body=body)
        assert reply.error == (400, "general_argument_invalid")
        assert reply.message == 'Param "functionId" is not optional.'


async def test_forms_and_queries_fold_their_brackets(plain: Client) -> None:
    body = b"functionId=f&name=fn&runtime=node-22&execute[]=any&execute[]=users&timeout=20"
    reply = await plain.send("POST", "/v1/functions", content_type="application/x-www-form-urlencoded", body=body)

    assert reply.status == 201
    assert (reply.json["execute"], reply.json["timeout"]) == (["any", "users"], 20)


async def test_parameters_come_from_the_body_or_the_query_by_method(plain: Client) -> None:
    reply = await plain.send("POST", "/v1/functions", query="functionId=f&name=n&runtime=node-22")

    assert reply.message == 'Param "functionId" is not optional.'


async def test_heads_and_preflights_are_served(anonymous: Client, plain: Client) -> None:
    function_id = await given.function(plain)
    shown = await plain.get(f"/v1/functions/{function_id}")
    head = await plain.send("HEAD", f"/v1/functions/{function_id}/")
    preflight = await anonymous.with_(origin="http://page.test").send("OPTIONS", "/v1/functions")

    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(shown.body))
    assert (preflight.status, preflight.body) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == "http://page.test"
    assert "X-Appwrite-Project" in preflight.headers["access-control-allow-headers"]


async def test_every_answer_has_a_request_id_and_a_position(plain: Client) -> None:
    made = await plain.with_(x_request_id="trace1").post("/v1/functions", functionId="f", name="n", runtime="node-22")
    read = await plain.get("/v1/functions/f")

    assert made.headers["server"] == "Appwrite"
    assert made.headers["x-request-id"] == "trace1"
    assert made.headers["x-content-type-options"] == "nosniff"
    assert read.headers["x-annals-position"] == made.headers["x-annals-position"]


async def test_body_over_the_bound_is_refused(plain: Client) -> None:
    fields = {"functionId": "f", "name": "n", "runtime": "node-22", "commands": "x" * 3_000_000}

    assert (await plain.json("POST", "/v1/functions", fields)).error == (400, "general_argument_invalid")


async def test_creations_are_counted_a_day(settings: Settings, services: Services) -> None:
    few = msgspec.structs.replace(settings, functions_create_quota=2)
    services.settings = few
    edge = edge_of(services)
    client = Client(edge, {"x-appwrite-project": "p1", "x-appwrite-key": "p1-all"})
    fields = {"functionId": "f", "name": "n", "runtime": "node-22"}

    assert "x-ratelimit-limit" not in (await client.post("/v1/functions", functionId="f")).headers
    made = await client.json("POST", "/v1/functions", fields)
    taken = await client.json("POST", "/v1/functions", fields)
    over = await client.json("POST", "/v1/functions", fields)

    assert (made.headers["x-ratelimit-limit"], made.headers["x-ratelimit-remaining"]) == ("2", "1")
    assert taken.error == (409, "function_already_exists")
    assert taken.headers["x-ratelimit-remaining"] == "0"
    assert over.error == (429, "general_rate_limit_exceeded")
    assert int(over.headers["x-ratelimit-reset"]) > services.now().timestamp()


async def test_many_callers_at_once_each_get_their_own_answer(plain: Client) -> None:
    wanted = [await given.function(plain, functionId=f"f{number}") for number in range(20)]
    paths = [f"/v1/functions/{function_id}" for function_id in (*wanted, "nope") for _ in range(5)]

    replies = await asyncio.gather(*(plain.get(path) for path in paths))

    for path, reply in zip(paths, replies, strict=True):
        if path.endswith("nope"):
            assert reply.error == (404, "function_not_found")
        else:
            assert reply.json["$id"] == path.rpartition("/")[2]


async def test_trusted_proxy_sets_the_clients_address(
    settings: Settings, services: Services, executor: FakeExecutor, plain: Client
) -> None:
    function_id = await given.running_function(services, plain)
    services.settings = msgspec.structs.replace(settings, trusted_proxies=("10.0.0.5",))
    forwarded = plain.with_(x_forwarded_for="198.51.100.1, 203.0.113.9", x_forwarded_proto="https")

    by_proxy = await given.execute(forwarded.from_("10.0.0.5"), function_id)
    by_itself = await given.execute(forwarded, function_id)

    seen = [dict(run.headers)["x-appwrite-client-ip"] for run in executor.runs]
    assert seen == ["203.0.113.9", "203.0.113.7"]
    assert "strict-transport-security" in by_proxy.headers
    assert "strict-transport-security" not in by_itself.headers
