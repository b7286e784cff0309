"""A process at its limit of requests says so, and still answers the requests that it must."""

import asyncio

import pytest

from annals.app.services import Services
from annals.capacity import limiter as request_limiter
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.executor import FakeExecutor


async def two_at_work(
    executor: FakeExecutor, services: Services, client: Client
) -> tuple[asyncio.Event, list[asyncio.Task[Reply]]]:
    """Start two calls whose code runs until the event is set."""
    function_id = await given.running_function(services, client)
    executor.go = asyncio.Event()
    working = [asyncio.create_task(given.execute(client, function_id)) for _ in range(2)]
    while int(await services.database.value("SELECT count(*) FROM executions WHERE status = 'processing'")) < 2:
        await asyncio.sleep(0.01)
    return executor.go, working


async def test_process_at_its_limit_answers_503_and_still_serves_health(
    executor: FakeExecutor, services: Services, plain: Client, anonymous: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_limiter, "MOST_AT_ONCE", 2)
    limiter, working = await two_at_work(executor, services, plain)

    refused = await plain.get("/v1/functions")
    health = await anonymous.get("/v1/health")
    limiter.set()

    assert (refused.error, refused.headers["retry-after"]) == ((503, "general_service_unavailable"), "1")
    assert health.status == 200
    assert [reply.status for reply in await asyncio.gather(*working)] == [201, 201]
    assert (await plain.get("/v1/functions")).status == 200


async def test_single_project_cannot_take_all_of_a_process(
    executor: FakeExecutor, services: Services, plain: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_limiter, "MOST_OF_PROJECT", 2)
    limiter, working = await two_at_work(executor, services, plain)

    refused = await plain.get("/v1/functions")
    served = await plain.with_(x_appwrite_project="p2", x_appwrite_key="p2-all").get("/v1/functions")
    limiter.set()

    assert (refused.error, refused.headers["retry-after"]) == ((503, "general_service_unavailable"), "1")
    assert served.status == 200
    assert [reply.status for reply in await asyncio.gather(*working)] == [201, 201]
