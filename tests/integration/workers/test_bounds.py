"""A function that may run only so many calls at once: what is beyond waits, and runs as soon as there is room."""

import asyncio
from collections.abc import Sequence

from annals.domain.commands.functions import change_policy
from annals.domain.function import Function
from annals.domain.policy import Policy, Scaling
from annals.workers.executions import Executions
from tests.integration.workers.valkey import until
from tests.integration.workers.world import META, PROJECT, World


async def bounded(world: World, concurrency: int, function_id: str = "f") -> None:
    policy = Policy(scaling=Scaling(concurrency=concurrency))
    await world.log.run(change_policy, Function.key(PROJECT, function_id), meta=META, policy=policy)


async def statuses(world: World) -> list[str]:
    rows = await world.database.rows("SELECT status FROM executions ORDER BY sequence")
    return [row["status"] for row in rows]


async def worker(world: World, woken: list[str] | None = None) -> Executions:
    """A worker whose left executions are woken at once, as the queue does it."""
    made: list[Executions] = []
    tasks: set[asyncio.Task[None]] = set()

    async def again(streams: Sequence[str]) -> None:
        if woken is not None:
            woken.extend(streams)
        for stream in streams:
            task = asyncio.create_task(made[0].run(stream))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    made.append(world.executions(await world.presence(), again=again))
    return made[0]


async def test_no_more_are_claimed_than_may_run_and_the_rest_waits_its_turn(world: World) -> None:
    incarnation = await world.built()
    await bounded(world, 2)
    streams = [await world.request(f"x{n}", incarnation) for n in range(5)]
    executions, most = await worker(world), 0
    world.executor.go.clear()
    running = [asyncio.create_task(executions.run(stream)) for stream in streams]

    await until(lambda: len(world.executor.runs) == 2)
    assert sorted(await statuses(world)) == ["processing", "processing", "waiting", "waiting", "waiting"]
    most = max(most, len(world.executor.runs))
    world.executor.go.set()

    async def all_ended() -> bool:
        nonlocal most
        now = await statuses(world)
        most = max(most, now.count("processing"))
        return now == ["completed"] * 5

    await until(all_ended)
    await asyncio.gather(*running)
    assert most == 2
    assert all(run.concurrency == 2 for run in world.executor.runs)


async def test_what_waits_is_woken_oldest_first_and_only_as_much_as_there_is_room(world: World) -> None:
    incarnation = await world.built()
    await bounded(world, 1)
    streams = [await world.request(f"x{n}", incarnation) for n in range(4)]
    woken: list[str] = []
    executions = await worker(world, woken)
    world.executor.go.clear()
    running = [asyncio.create_task(executions.run(stream)) for stream in streams]
    await until(lambda: len(world.executor.runs) == 1)

    world.executor.go.set()

    async def all_ended() -> bool:
        return await statuses(world) == ["completed"] * 4

    await until(all_ended)
    await asyncio.gather(*running)
    assert woken == streams[1:]


async def test_a_function_with_a_bound_holds_up_no_other(world: World) -> None:
    first = await world.built()
    other = await world.built("g")
    await bounded(world, 1)
    executions = await worker(world)
    world.executor.go.clear()
    streams = [await world.request(f"x{n}", first) for n in range(3)]
    streams += [await world.request(f"y{n}", other, function_id="g") for n in range(3)]
    running = [asyncio.create_task(executions.run(stream)) for stream in streams]

    await until(lambda: len(world.executor.runs) == 4)

    assert sorted(run.execution[0] for run in world.executor.runs) == ["x", "y", "y", "y"]
    world.executor.go.set()
    await asyncio.gather(*running)


async def test_a_bound_that_is_lifted_counts_within_a_moment(world: World) -> None:
    incarnation = await world.built()
    await bounded(world, 1)
    executions = await worker(world)
    world.executor.go.clear()
    first = asyncio.create_task(executions.run(await world.request("x0", incarnation)))
    await until(lambda: len(world.executor.runs) == 1)
    stream = await world.request("x1", incarnation)
    await executions.run(stream)
    assert await statuses(world) == ["processing", "waiting"]

    await bounded(world, 5)

    tries: list[asyncio.Task[None]] = []

    async def tried_again() -> bool:
        tries.append(asyncio.create_task(executions.run(stream)))
        await asyncio.wait(tries[-1:], timeout=0.2)
        return len(world.executor.runs) == 2

    await until(tried_again)
    world.executor.go.set()
    await asyncio.gather(first, *tries)
