"""Calls beyond a function's concurrency limit wait, and run as soon as a slot is free."""

import asyncio
import functools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from annals.application.event_log import inline, required
from annals.capacity.slots import FreedSlots
from annals.domain.commands.executions import cancel_execution
from annals.domain.commands.functions import change_policy
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.policy import Policy, Scaling
from annals.projections.inline import CONSTRAINT_ERRORS
from annals.store.errors import NoFreeSlot
from annals.store.log.append_modes import FREED_SLOTS
from annals.store.log.log import EventLog
from annals.store.log.request import ConcurrencySlot
from annals.store.postgres.listener import Listener
from annals.workers.executions import ExecutionActor
from annals.workers.reaper import take_back
from tests.integration.workers.valkey import until
from tests.integration.workers.world import META, PROJECT, World
from tests.simulation.ledger import Caps

soon = functools.partial(until, seconds=60)
SLOT_OF_F = ConcurrencySlot(PROJECT, "f")


async def bounded(world: World, concurrency: int, function_id: str = "f") -> None:
    policy = Policy(scaling=Scaling(concurrency=concurrency))
    await world.log.run(change_policy, Function.key(PROJECT, function_id), meta=META, policy=policy)


async def statuses(world: World) -> list[str]:
    rows = await world.database.rows("SELECT status FROM executions ORDER BY sequence")
    return [row["status"] for row in rows]


async def one_too_many(world: World) -> list[str]:
    """Find in the log the calls that began without a free slot."""
    wrong: list[str] = []
    caps = Caps(wrong.append)
    for recorded_event in await world.log.reader.after(0, 10_000):
        caps.apply(recorded_event.event, 0.0)
    return wrong


class Crew(NamedTuple):
    """Workers that each record in their own transaction, and the streams of the keeper's job messages."""

    workers: Sequence[ExecutionActor]
    woken: list[str]
    tasks: set["asyncio.Task[None]"]

    def run(self, *streams: str) -> None:
        """Hand every stream to every worker."""
        for worker in self.workers:
            for stream in streams:
                task = asyncio.create_task(worker.run(stream))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)


@asynccontextmanager
async def crew(world: World, count: int = 1) -> AsyncIterator[Crew]:
    parts: dict[str, Any] = {
        "contents": world.contents,
        "inline": inline,
        "required": required,
        "constraint_errors": CONSTRAINT_ERRORS,
    }
    logs = [await EventLog.open(world.database, **parts) for _ in range(count)]
    made = Crew([world.executions(await world.process_lease(), log) for log in logs], [], set())

    async def wake(streams: Sequence[str]) -> None:
        made.woken.extend(streams)
        made.run(*streams)

    async with Listener.open(world.database, FREED_SLOTS) as freed:
        await soon(lambda: freed.sessions > 0)
        keeping = asyncio.create_task(FreedSlots(world.database, freed, wake).run())
        try:
            yield made
        finally:
            world.executor.go.set()
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
            await asyncio.gather(*made.tasks)
            for log in logs:
                await log.close()


async def test_two_workers_respect_the_limit_and_run_all_calls(world: World) -> None:
    incarnation = await world.built()
    await bounded(world, 2)
    streams = [await world.request(f"x{n}", incarnation) for n in range(12)]
    world.executor.go.clear()
    async with crew(world, 2) as workers:
        workers.run(*streams)
        await soon(lambda: len(world.executor.runs) == 2)
        assert sorted(await statuses(world)) == ["processing"] * 2 + ["waiting"] * 10
        world.executor.go.set()

        async def all_ended() -> bool:
            return await statuses(world) == ["completed"] * 12

        await soon(all_ended)
    assert await one_too_many(world) == []
    assert all(run.concurrency == 2 for run in world.executor.runs)


async def test_freed_slots_wake_as_many_of_the_oldest_as_they_fit(world: World) -> None:
    incarnation = await world.built()
    await bounded(world, 1)
    streams = [await world.request(f"x{n}", incarnation) for n in range(4)]
    world.executor.go.clear()
    async with crew(world) as workers:
        workers.run(streams[0])
        await soon(lambda: len(world.executor.runs) == 1)
        workers.run(*streams[1:])
        await soon(lambda: len(workers.tasks) == 1)
        world.executor.go.set()

        async def all_ended() -> bool:
            return await statuses(world) == ["completed"] * 4

        await soon(all_ended)
    assert [stream for stream in dict.fromkeys(workers.woken) if stream != streams[0]] == streams[1:]


async def test_function_at_its_limit_holds_up_no_other(world: World) -> None:
    first = await world.built()
    other = await world.built("g")
    await bounded(world, 1)
    world.executor.go.clear()
    streams = [await world.request(f"x{n}", first) for n in range(3)]
    streams += [await world.request(f"y{n}", other, function_id="g") for n in range(3)]
    async with crew(world) as workers:
        workers.run(*streams)

        await soon(lambda: len(world.executor.runs) == 4)

        assert sorted(run.execution[0] for run in world.executor.runs) == ["x", "y", "y", "y"]


async def test_lifted_concurrency_limit_starts_waiting_calls(world: World) -> None:
    incarnation = await world.built()
    await bounded(world, 1)
    streams = [await world.request(f"x{n}", incarnation) for n in range(4)]
    world.executor.go.clear()
    async with crew(world) as workers:
        workers.run(*streams)
        await soon(lambda: len(world.executor.runs) == 1)

        await bounded(world, 3)
        await soon(lambda: len(world.executor.runs) == 3)

        await bounded(world, 0)
        await soon(lambda: len(world.executor.runs) == 4)


@pytest.mark.parametrize("end", ["canceled", "lost"])
async def test_slot_of_an_abandoned_call_goes_to_the_next(world: World, end: str) -> None:
    incarnation = await world.built()
    await bounded(world, 1)
    held, waiting = [await world.request(f"x{n}", incarnation) for n in range(2)]
    world.executor.go.clear()
    key = Execution.key(PROJECT, "x0")
    execution = await world.log.load(key)
    execution.claim("a worker elsewhere")
    await world.log.record([execution], meta=META, takes=SLOT_OF_F)
    async with crew(world) as workers:
        workers.run(held, waiting)
        await soon(lambda: not workers.tasks)
        assert world.executor.runs == []

        if end == "canceled":
            await world.log.run(cancel_execution, key, meta=META, function_id="f", incarnation=incarnation)
        else:
            await take_back(world.log, held, 1, META)

        await soon(lambda: [run.execution for run in world.executor.runs] == ["x1"])


async def test_scheduled_run_that_is_due_at_the_limit_runs_when_a_slot_is_free(world: World) -> None:
    incarnation = await world.built()
    await bounded(world, 1)
    first = await world.request("x0", incarnation)
    due = await world.request("x1", incarnation, scheduled_at=datetime.now(UTC) - timedelta(seconds=60))
    await world.request("x2", incarnation, scheduled_at=datetime.now(UTC) + timedelta(days=1))
    world.executor.go.clear()
    async with crew(world) as workers:
        workers.run(first)
        await soon(lambda: len(world.executor.runs) == 1)
        workers.run(due)
        await soon(lambda: len(workers.tasks) == 1)
        assert await statuses(world) == ["processing", "scheduled", "scheduled"]

        world.executor.go.set()

        await soon(lambda: [run.execution for run in world.executor.runs] == ["x0", "x1"])
    assert due in workers.woken


async def test_call_without_a_free_slot_is_refused_alone_and_not_recorded(world: World) -> None:
    incarnation = await world.built()
    await bounded(world, 1)
    streams = [await world.request(f"x{n}", incarnation) for n in range(4)]
    claims = [await world.log.load(Execution.key(PROJECT, f"x{n}")) for n in range(4)]
    for claim in claims:
        claim.claim("w")

    answers = await asyncio.gather(
        *(world.log.record([claim], meta=META, takes=SLOT_OF_F) for claim in claims[:3]),
        world.log.record([claims[3]], meta=META),
        return_exceptions=True,
    )

    assert [isinstance(answer, NoFreeSlot) for answer in answers] == [False, True, True, False]
    assert await statuses(world) == ["processing", "waiting", "waiting", "processing"]
    assert len(streams) == 4
