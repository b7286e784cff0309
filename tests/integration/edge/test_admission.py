"""Calls over a limit are answered with an error that can be retried, record nothing, and leave others unaffected."""

import asyncio

import pytest

from annals.app.services import Services
from annals.application.executions import run
from annals.capacity.limiter import CallLimiter
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.executor import FakeExecutor
from tests.integration.workers.valkey import until


@pytest.fixture
def held(executor: FakeExecutor) -> asyncio.Event:
    """Holds every run back until it is set."""
    executor.go = asyncio.Event()
    return executor.go


async def waiting(services: Services, count: int) -> None:
    await until(lambda: services.call_limiter.calls == count)


async def test_functions_queue_that_is_full_answers_429_and_records_nothing(
    services: Services, plain: Client, executor: FakeExecutor, held: asyncio.Event
) -> None:
    services.call_limiter = CallLimiter(most=100, most_of_project=100, queue=2)
    function_id, other = [await given.running_function(services, plain) for _ in range(2)]
    await plain.json("PUT", f"/v1/functions/{function_id}/policy", {"scaling": {"concurrency": 1}})
    crowd = [asyncio.create_task(given.execute(plain, function_id)) for _ in range(3)]
    await waiting(services, 3)

    refused = await given.execute(plain, function_id)

    assert refused.error == (429, "general_rate_limit_exceeded")
    assert refused.headers["retry-after"] == "1"
    elsewhere = asyncio.create_task(given.execute(plain, other))
    await waiting(services, 4)
    held.set()
    assert {reply.status for reply in await asyncio.gather(*crowd, elsewhere)} == {201}
    assert (await plain.get(f"/v1/functions/{function_id}/executions")).json["total"] == 3
    assert (await given.execute(plain, function_id)).status == 201


async def test_call_that_waits_too_long_for_its_function_answers_429_and_records_nothing(
    services: Services, plain: Client, held: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "QUEUE_SECONDS", 0.2)
    function_id = await given.running_function(services, plain)
    await plain.json("PUT", f"/v1/functions/{function_id}/policy", {"scaling": {"concurrency": 1}})
    first = asyncio.create_task(given.execute(plain, function_id))
    executions = f"/v1/functions/{function_id}/executions"

    async def begun() -> bool:
        return bool((await plain.get(executions)).json["total"])

    await until(begun, seconds=60)

    refused = await given.execute(plain, function_id)

    assert refused.error == (429, "general_rate_limit_exceeded")
    assert refused.headers["retry-after"] == "1"
    assert (await plain.get(executions)).json["total"] == 1
    later = await given.execute(plain, function_id, async_=True)
    attempts = await plain.get(f"{executions}/{later.json['$id']}/attempts")
    assert (attempts.json["waiting"]["reason"], attempts.json["waiting"]["position"]) == ("concurrency", 1)
    held.set()
    assert (await first).status == 201


async def test_calls_beyond_a_functions_concurrency_run_one_after_another(
    services: Services, plain: Client, executor: FakeExecutor, held: asyncio.Event
) -> None:
    function_id = await given.running_function(services, plain)
    await plain.json("PUT", f"/v1/functions/{function_id}/policy", {"scaling": {"concurrency": 2}})
    crowd = [asyncio.create_task(given.execute(plain, function_id)) for _ in range(6)]
    await until(lambda: len(executor.runs) == 2, seconds=60)
    await waiting(services, 6)
    assert len(executor.runs) == 2

    held.set()

    assert {reply.status for reply in await asyncio.gather(*crowd)} == {201}
    assert len(executor.runs) == 6


async def test_full_process_answers_503_and_one_project_cannot_fill_it(
    services: Services, plain: Client, anonymous: Client, held: asyncio.Event
) -> None:
    services.call_limiter = CallLimiter(most=4, most_of_project=3, queue=0)
    function_id = await given.running_function(services, plain)
    crowd = [asyncio.create_task(given.execute(plain, function_id)) for _ in range(3)]
    await waiting(services, 3)

    assert (await given.execute(plain, function_id)).error == (429, "general_rate_limit_exceeded")

    services.call_limiter = CallLimiter(most=0, most_of_project=3, queue=0)
    full = await given.execute(plain, function_id)
    assert full.error == (503, "general_service_unavailable")
    assert full.headers["retry-after"] == "1"
    held.set()
    await asyncio.gather(*crowd)


async def test_waiting_calls_do_not_block_other_requests(
    services: Services, plain: Client, executor: FakeExecutor, held: asyncio.Event
) -> None:
    """Code calls back into the API while many calls run: it is answered, and may request more executions."""
    scopes = ["functions.read", "executions.write"]
    function_id = await given.running_function(services, plain, scopes=scopes)
    crowd = [asyncio.create_task(given.execute(plain, function_id)) for _ in range(150)]
    await until(lambda: len(executor.runs) == 150, seconds=120)
    inside = plain.with_(x_appwrite_key=dict(executor.runs[0].headers)["x-appwrite-key"])

    async with asyncio.timeout(60):
        answer = await inside.get(f"/v1/functions/{function_id}")
        later = await given.execute(inside, function_id, async_=True)

    assert (answer.status, later.status) == (200, 202)
    held.set()
    assert {reply.status for reply in await asyncio.gather(*crowd)} == {201}
