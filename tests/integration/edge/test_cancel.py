"""Canceling executions: an open execution ends as failed, and its code is killed (extensions.md)."""

import asyncio
from datetime import timedelta

from annals.app.services import Services
from annals.app.wire import wire_date
from annals.domain.execution import Execution
from annals.domain.ports import Outcome
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.executor import FakeExecutor
from tests.integration.workers.valkey import until

CANCELED = "The execution was canceled."


async def cancel(client: Client, function_id: str, execution_id: str) -> Reply:
    return await client.patch(f"/v1/functions/{function_id}/executions/{execution_id}/status")


async def test_canceled_waiting_execution_never_runs(services: Services, executor: FakeExecutor, key: Client) -> None:
    function_id = await given.running_function(services, key)
    made = (await given.execute(key, function_id, async_=True)).json["$id"]

    reply = await cancel(key, function_id, made)

    assert reply.status == 200
    assert (reply.json["status"], reply.json["errors"]) == ("failed", CANCELED)
    assert (await key.get(f"/v1/functions/{function_id}/executions/{made}")).json == reply.json
    execution = await services.log.load(Execution.key("p1", made))
    assert not execution.claim("w1")
    assert executor.canceled == []


async def test_canceled_scheduled_execution_never_runs(services: Services, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    at = services.now().replace(second=0, microsecond=0) + timedelta(hours=1)
    made = (await given.execute(plain, function_id, scheduledAt=wire_date(at), async_=True)).json["$id"]

    assert (await cancel(plain, function_id, made)).json["status"] == "failed"


async def test_canceled_running_execution_is_killed(services: Services, executor: FakeExecutor, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    made = (await given.execute(plain, function_id, async_=True)).json["$id"]
    await services.log.run(Execution.claim, Execution.key("p1", made), meta=given.META, worker="w1")

    reply = await cancel(plain, function_id, made)

    assert reply.json["status"] == "failed"
    await until(lambda: executor.canceled == [made])


async def test_canceled_synchronous_call_is_answered(services: Services, executor: FakeExecutor, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    executor.go = asyncio.Event()
    executor.answer = lambda _run: Outcome(status_code=500, reason="canceled", message="It was canceled.")
    waiting = asyncio.ensure_future(given.execute(plain, function_id))
    path = f"/v1/functions/{function_id}/executions"
    async with asyncio.timeout(60):
        while not (rows := (await plain.get(path)).json["executions"]):
            await asyncio.sleep(0.01)
    assert (await cancel(plain, function_id, rows[0]["$id"])).json["status"] == "failed"
    executor.go.set()

    reply = await waiting

    assert (reply.status, reply.json["status"], reply.json["errors"]) == (201, "failed", CANCELED)


async def test_ended_execution_cannot_be_canceled(services: Services, key: Client) -> None:
    function_id = await given.running_function(services, key)
    made = (await given.execute(key, function_id)).json["$id"]

    assert (await cancel(key, function_id, made)).error == (400, "execution_already_ended")


async def test_execution_is_only_canceled_by_callers_that_may_read_it(
    services: Services, plain: Client, anonymous: Client
) -> None:
    function_id = await given.running_function(services, plain, execute=["any"])
    made = (await given.execute(plain, function_id, async_=True)).json["$id"]

    guest = anonymous.with_(x_appwrite_project="p1")
    assert (await cancel(guest, function_id, made)).error == (404, "execution_not_found")
    other = await given.running_function(services, plain)
    assert (await cancel(plain, other, made)).error == (404, "execution_not_found")
    assert (await cancel(plain, "nope", made)).error == (404, "function_not_found")
    assert (await cancel(plain.with_(x_appwrite_key="p1-none"), function_id, made)).error[0] == 401
