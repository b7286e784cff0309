"""Synchronous executions, with the test in the part of the code (behaviours.md F)."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from annals.app.services import Services
from annals.domain.commands.executions import lose_execution
from annals.domain.execution import Execution
from annals.domain.ports import UNANSWERED_STATUS, ExecutorUnavailable, Outcome, Output, Run
from annals.settings import Settings
from annals.store.secrets.tokens import Claims, verify
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.executor import ANY, FakeExecutor
from tests.routes import edge_of


def headers_of(pairs: list[dict[str, str]]) -> dict[str, str]:
    return {pair["name"]: pair["value"] for pair in pairs}


@pytest.mark.behaviours(90, 91, 92, 180)
async def test_synchronous_execution_is_answered_with_its_outcome(services: Services, key: Client) -> None:
    function_id = await given.running_function(services, key)
    active = (await key.get(f"/v1/functions/{function_id}")).json["deploymentId"]

    reply = await given.execute(key, function_id)

    assert reply.status == 201
    shown = reply.json
    assert (shown["status"], shown["responseStatusCode"], shown["responseBody"]) == ("completed", 200, "hello")
    assert (shown["trigger"], shown["requestMethod"], shown["requestPath"]) == ("http", "POST", "/")
    assert (shown["deploymentId"], shown["duration"], shown["logs"], shown["errors"]) == (
        active,
        0.25,
        "a log",
        "",
    )
    assert shown["scheduledAt"] is None
    assert shown["$permissions"] == []
    headers = headers_of(shown["responseHeaders"])
    assert headers == {"content-type": "text/plain", "x-appwrite-execution-id": shown["$id"]}
    stored = (await key.get(f"/v1/functions/{function_id}/executions/{shown['$id']}")).json
    assert stored == {
        **shown,
        "responseBody": "",
        "responseHeaders": [{"name": "content-type", "value": "text/plain"}],
    }
    format_ = key.headers.get("x-appwrite-response-format")
    assert shown.get("functionId") == (None if format_ == "2.5.0" else function_id)
    assert shown.get("resourceId") == (None if format_ == "1.8.0" else function_id)
    assert shown.get("resourceType") == (None if format_ == "1.8.0" else "functions")


@pytest.mark.behaviours(95, 113)
async def test_code_gets_the_request_exactly_as_sent(services: Services, executor: FakeExecutor, key: Client) -> None:
    function_id = await given.running_function(services, key, scopes=["users.read"])
    headers = {"X-Custom": "v", "content-type": "text/x", "Cookie": "a=b; c=d=e"}

    shown = (await given.execute(key, function_id, path="/a/b?x=1", method="PATCH", body="hi", headers=headers)).json

    (run,) = executor.runs
    assert (run.path, run.method, run.body) == ("/a/b?x=1", "PATCH", b"hi")
    seen = dict(run.headers)
    assert (seen["x-custom"], seen["cookie"], seen["content-type"]) == ("v", "a=b; c=d=e", "text/x")
    assert (seen["x-appwrite-trigger"], seen["x-appwrite-execution-id"]) == ("http", shown["$id"])
    assert seen["x-appwrite-client-ip"] == "203.0.113.7"
    assert seen["x-appwrite-user-id"] == ""
    prefix, _, token = seen["x-appwrite-key"].partition("_")
    assert prefix == ("ephemeral" if key.headers.get("x-appwrite-response-format") == "2.5.0" else "dynamic")
    claims = verify(token, await services.signing_secret("p1"), services.now().timestamp(), Claims)
    assert (claims.project_id, claims.scopes) == ("p1", ["users.read"])
    assert (shown["requestPath"], shown["requestMethod"]) == ("/a/b?x=1", "PATCH")
    assert set(headers_of(shown["requestHeaders"])) == {"content-type", "x-appwrite-client-ip"}


@pytest.mark.behaviours(96)
async def test_head_answers_without_a_body(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain)

    assert (await given.execute(plain, function_id, method="HEAD")).json["responseBody"] == ""


@pytest.mark.behaviours(97, 98)
@pytest.mark.parametrize(
    "wrong",
    [
        *({"method": value} for value in ("get", "TRACE", 5)),
        *({"path": value} for value in ("", "/" + "x" * 2048, 5)),
        *({"headers": value} for value in (["a"], "nope", {"x-appwrite-key": "v"}, {"-a": ""}, {"a": "b\nc"}, 5)),
        {"body": 5},
        {"body": "x" * 10_485_761},
        {"async": "maybe"},
    ],
    ids=lambda wrong: str(wrong)[:40],
)
async def test_invalid_values_are_refused(keys: list[Client], wrong: dict[str, Any]) -> None:
    for key in keys:
        reply = await key.json("POST", "/v1/functions/f/executions", wrong)
        assert reply.error == (400, "general_argument_invalid")


@pytest.mark.behaviours(99, 100)
async def test_functions_that_cannot_run_are_refused(services: Services, key: Client) -> None:
    assert (await given.execute(key, "nope")).error == (404, "function_not_found")
    function_id = await given.function(key)
    assert (await given.execute(key, function_id)).error == (404, "deployment_not_found")


@pytest.mark.behaviours(103, 104, 105, 107)
async def test_guests_run_functions_that_guests_may_execute(services: Services, key: Client) -> None:
    function_id = await given.running_function(services, key, execute=["any"])
    guest = key.with_(x_appwrite_key=None)

    shown = (await given.execute(guest, function_id)).json
    assert (shown["status"], shown["$permissions"], shown["logs"], shown["errors"]) == (
        "completed",
        [],
        "",
        "",
    )
    await key.put(f"/v1/functions/{function_id}", name="fn", execute=["users"])
    assert (await given.execute(guest, function_id)).error == (401, "user_unauthorized")
    await key.put(f"/v1/functions/{function_id}", name="fn", execute=[])
    assert (await given.execute(guest, function_id)).error == (401, "user_unauthorized")
    assert (await given.execute(key, function_id)).status == 201
    await key.put(f"/v1/functions/{function_id}", name="fn", execute=["any"], enabled=False)
    assert (await given.execute(guest, function_id)).error == (404, "function_not_found")
    assert (await given.execute(key, function_id)).status == 201


@pytest.mark.behaviours(104)
async def test_missing_deployment_precedes_missing_permission(plain: Client, anonymous: Client) -> None:
    function_id = await given.function(plain)
    reply = await given.execute(anonymous.with_(x_appwrite_project="p1"), function_id)

    assert reply.error == (404, "deployment_not_found")


@pytest.mark.behaviours(109)
@pytest.mark.parametrize("fields", [{}, {"headers": {}}, {"headers": "{}"}, {"headers": []}, {"headers": None}])
async def test_headers_may_be_empty_or_missing(services: Services, keys: list[Client], fields: dict[str, Any]) -> None:
    function_id = await given.running_function(services, keys[0])

    for key in keys:
        assert (await key.json("POST", f"/v1/functions/{function_id}/executions", fields)).status == 201


@pytest.mark.behaviours(110, 111)
async def test_output_is_truncated_or_left_out(services: Services, executor: FakeExecutor, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    executor.answer = lambda _run: Outcome(status_code=200, logs="a" * 1_000_001 + "end", errors="b" * 2_000_000)

    shown = (await given.execute(plain, function_id)).json
    stored = (await plain.get(f"/v1/functions/{function_id}/executions/{shown['$id']}")).json
    for output in (shown, stored):
        assert len(output["logs"]) == len(output["errors"]) == 1_000_000
        assert output["logs"].startswith("[WARNING] Logs truncated")
        assert output["logs"].endswith("aend")
        assert output["errors"].startswith("[WARNING] Errors truncated")
    await plain.put(f"/v1/functions/{function_id}", name="fn", logging=False)
    silent = (await given.execute(plain, function_id)).json
    assert silent["logs"] == silent["errors"] == ""
    assert executor.runs[-1].logging is False


@pytest.mark.behaviours(112)
async def test_run_that_the_platform_ended_says_why(services: Services, executor: FakeExecutor, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    executor.answer = lambda _run: Outcome(
        status_code=UNANSWERED_STATUS, reason="timeout", message="Execution timed out.", errors="trace"
    )

    shown = (await given.execute(plain, function_id)).json
    assert (shown["status"], shown["responseStatusCode"]) == ("failed", 500)
    assert shown["errors"] == "Execution timed out.\ntrace"


async def test_unreachable_executor_is_an_infrastructure_failure(
    services: Services, executor: FakeExecutor, plain: Client
) -> None:
    function_id = await given.running_function(services, plain)

    def away(_run: Run) -> Outcome:
        raise ExecutorUnavailable("it is down")

    executor.answer = away
    reply = await given.execute(plain, function_id)

    assert reply.status == 201
    assert (reply.json["status"], reply.json["responseStatusCode"]) == ("failed", 500)
    assert "it is down" in reply.json["errors"]


async def test_caller_waits_no_longer_than_the_instance_allows(
    settings: Settings, services: Services, executor: FakeExecutor, plain: Client
) -> None:
    function_id = await given.running_function(services, plain)
    services.settings = msgspec.structs.replace(settings, sync_wait_s=1)
    executor.go = asyncio.Event()
    executor.written[ANY] = Output("half done\n", "a warning\n")

    reply = await given.execute(plain, function_id)

    assert reply.error == (408, "function_synchronous_timeout")
    (stored,) = (await plain.get(f"/v1/functions/{function_id}/executions")).json["executions"]
    assert (stored["status"], stored["responseStatusCode"]) == ("failed", 500)
    assert executor.canceled == [stored["$id"]]
    assert stored["logs"] == "half done\n"
    assert stored["errors"].startswith("Synchronous function execution timed out")
    assert stored["errors"].endswith("a warning\n")


async def test_canceled_call_keeps_the_output_of_its_code(
    services: Services, executor: FakeExecutor, plain: Client
) -> None:
    function_id = await given.running_function(services, plain)
    executor.go = asyncio.Event()
    calling = asyncio.create_task(given.execute(plain, function_id))
    async with asyncio.timeout(60):
        while not executor.runs or not (await services.database.value("SELECT count(*) FROM executions")):
            await asyncio.sleep(0.01)
    execution_id = executor.runs[0].execution
    executor.written[execution_id] = Output("half done\n", "a warning\n")

    await plain.patch(f"/v1/functions/{function_id}/executions/{execution_id}/status")
    reply = await calling

    assert (reply.status, reply.json["status"]) == (201, "failed")
    stored = (await plain.get(f"/v1/functions/{function_id}/executions/{execution_id}")).json
    assert (stored["status"], stored["logs"]) == ("failed", "half done\n")
    assert stored["errors"] == "The execution was canceled.\na warning\n"


async def test_outcome_after_the_reapers_is_not_answered(
    services: Services, executor: FakeExecutor, plain: Client
) -> None:
    function_id = await given.running_function(services, plain)
    executor.go = asyncio.Event()
    calling = asyncio.create_task(given.execute(plain, function_id))
    while not executor.runs:
        await asyncio.sleep(0.01)
    key = Execution.key("p1", executor.runs[0].execution)
    while (await services.database.value("SELECT count(*) FROM executions")) == 0:
        await asyncio.sleep(0.01)
    await services.log.run(lose_execution, key, meta=given.META, epoch=1, now=datetime.now(UTC))
    executor.go.set()

    shown = (await calling).json

    assert shown["status"] == "failed"
    assert "lost" in shown["errors"]


async def test_running_execution_can_be_seen_at_once(services: Services, executor: FakeExecutor, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    executor.go = asyncio.Event()
    calling = asyncio.create_task(given.execute(plain, function_id))
    path = f"/v1/functions/{function_id}/executions"
    while not (rows := (await plain.get(path)).json["executions"]):
        await asyncio.sleep(0.01)

    assert rows[0]["status"] == "processing"
    assert (await plain.delete(f"{path}/{rows[0]['$id']}")).error == (400, "execution_in_progress")
    executor.go.set()
    assert (await calling).status == 201


async def test_closing_edge_ends_its_running_executions(services: Services, executor: FakeExecutor) -> None:
    edge = edge_of(services)
    client = Client(edge, {"x-appwrite-project": "p1", "x-appwrite-key": "p1-all"})
    function_id = await given.running_function(services, client)
    executor.go = asyncio.Event()
    calling = asyncio.create_task(given.execute(client, function_id))
    while not executor.runs:
        await asyncio.sleep(0.01)
    draining = asyncio.create_task(edge.drained())
    await asyncio.sleep(0)

    assert not draining.done()
    executor.go.set()
    assert (await calling).status == 201
    await draining
