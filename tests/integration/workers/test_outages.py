"""Outages of Postgres or Redis during work: no work is lost or done twice, and all goes on by itself."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from annals.store.errors import StoreUnavailable
from annals.store.postgres.migrate import migrate
from tests.integration.postgres import Postgres
from tests.integration.workers.executor import FakeExecutor
from tests.integration.workers.processes import Served, settings
from tests.integration.workers.test_processes import ended
from tests.integration.workers.valkey import Valkey, until
from tests.integration.workers.world import World, opened, with_project

EXECUTIONS = 20


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    server = Valkey()
    server.start()
    yield server
    server.close()


@pytest.fixture
async def running(own_postgres: Postgres, own_valkey: Valkey, tmp_path: Path) -> AsyncIterator[World]:
    """A world with a function, and a keeper and a worker that serve it."""
    url = own_postgres.url()
    migrate(url)
    executor, served = FakeExecutor(), [Served(), Served()]
    async with AsyncExitStack() as stack:
        world = await with_project(await stack.enter_async_context(opened(url, tmp_path, executor)))
        await world.built()
        configured = settings(url, own_valkey.url, tmp_path, lease_s=60)
        served[0].keeper(configured)
        served[1].worker(configured, executor)
        await until(lambda: served[0].doing == "leads" and served[1].doing == "idle")
        yield world
        for process in served:
            process.asked.set()
        for process in served:
            await process.die()


async def request(world: World, names: list[str]) -> None:
    for name in names:
        await world.request(name, world.incarnations["f"])


async def conserved(world: World, names: list[str]) -> None:
    """Check that every execution was accepted, claimed and completed once."""
    for name in names:
        assert await world.topics(f"execution:p:{name}") == [
            "execution.requested",
            "execution.claimed",
            "execution.completed",
        ]
    assert sorted(run.execution for run in world.executor.runs) == sorted(names)


async def test_outcomes_wait_for_postgres(running: World, own_postgres: Postgres) -> None:
    names = [f"x{n}" for n in range(EXECUTIONS)]
    running.executor.go.clear()
    await request(running, names)
    await until(lambda: len(running.executor.runs) == EXECUTIONS)

    own_postgres.crash()
    running.executor.go.set()
    with pytest.raises(StoreUnavailable):
        await running.database.value("SELECT 1")
    own_postgres.start()

    await until(lambda: _reachable(running))
    await until(lambda: ended(running, EXECUTIONS))
    await conserved(running, names)


async def test_waiting_execution_is_claimed_after_postgres_returns(running: World, own_postgres: Postgres) -> None:
    names = [f"x{n}" for n in range(EXECUTIONS)]
    asking = asyncio.create_task(request(running, names[:10]))
    await asking
    own_postgres.crash()
    await asyncio.sleep(0.2)  # some claims meet the outage
    own_postgres.start()
    await until(lambda: _reachable(running))

    await request(running, names[10:])

    await until(lambda: ended(running, EXECUTIONS), 90)
    await conserved(running, names)


async def test_relay_waits_for_redis(running: World, own_valkey: Valkey) -> None:
    names = [f"x{n}" for n in range(EXECUTIONS)]
    own_valkey.stop()
    await request(running, names)
    await asyncio.sleep(0.5)
    assert running.executor.runs == []

    own_valkey.start()

    await until(lambda: ended(running, EXECUTIONS), 90)
    await conserved(running, names)


async def _reachable(world: World) -> bool:
    try:
        return bool(await world.database.value("SELECT true"))
    except StoreUnavailable:
        return False
