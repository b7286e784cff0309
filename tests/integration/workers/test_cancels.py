"""A canceled execution is killed wherever it runs, even if its claim has not reached an executor yet."""

import asyncio
from datetime import timedelta

from annals.domain.commands.executions import cancel_execution
from annals.domain.execution import Execution
from annals.domain.ports import Output
from annals.workers.cleanup import BlobGarbage, Cleanup, RetentionSweeper
from tests.integration.workers.executor import ANY
from tests.integration.workers.valkey import until
from tests.integration.workers.world import META, PROJECT, World


def cleanup(world: World) -> Cleanup:
    return Cleanup(
        world.log,
        world.executor,
        RetentionSweeper(world.log, execution_days=14),
        BlobGarbage(world.database, world.contents, grace=timedelta(hours=1)),
    )


async def cancel(world: World, execution_id: str, incarnation: int) -> None:
    key = Execution.key(PROJECT, execution_id)
    await world.log.run(cancel_execution, key, meta=META, function_id="f", incarnation=incarnation)


async def test_canceled_run_is_killed_and_its_outcome_refused(world: World) -> None:
    incarnation = await world.built()
    stream = await world.request("x1", incarnation)
    world.executor.go.clear()
    running = asyncio.create_task(world.executions(await world.process_lease()).run(stream))
    await until(lambda: world.executor.runs)
    await cancel(world, "x1", incarnation)

    await cleanup(world).stop_execution(stream)
    await running

    assert await world.topics(stream) == ["execution.requested", "execution.claimed", "execution.canceled"]
    row = await world.execution("x1")
    assert (row["status"], row["reason"]) == ("failed", "canceled")


async def test_output_of_a_killed_run_is_kept(world: World) -> None:
    incarnation = await world.built()
    stream = await world.request("x1", incarnation)
    world.executor.go.clear()
    world.executor.written[ANY] = Output("half done")
    running = asyncio.create_task(world.executions(await world.process_lease()).run(stream))
    await until(lambda: world.executor.runs)
    await cancel(world, "x1", incarnation)

    await cleanup(world).stop_execution(stream)
    await running

    assert (await world.topics(stream))[2:] == ["execution.canceled", "execution.output_kept"]
    row = await world.execution("x1")
    assert (row["status"], row["reason"], row["logs_size"]) == ("failed", "canceled", len("half done"))
    assert await world.kept(stream, "logs") == "half done"


async def test_run_that_reaches_its_executor_after_the_cancel_is_killed(world: World) -> None:
    incarnation = await world.built()
    stream = await world.request("x1", incarnation)
    execution = await world.log.load(Execution.key(PROJECT, "x1"))
    execution.claim("w1")
    await world.log.record([execution], meta=META)
    await cancel(world, "x1", incarnation)
    stopping = asyncio.create_task(cleanup(world).stop_execution(stream))
    await until(lambda: world.executor.canceled)
    world.executor.go.clear()
    late = asyncio.create_task(world.executor._wait_or_be_killed("x1"))

    assert await late
    await stopping


async def test_canceled_execution_that_never_ran_is_not_searched(world: World) -> None:
    incarnation = await world.built()
    stream = await world.request("x1", incarnation)
    await cancel(world, "x1", incarnation)

    await cleanup(world).stop_execution(stream)
    await world.executions(await world.process_lease()).run(stream)

    assert world.executor.canceled == []
    assert world.executor.runs == []


async def test_pinned_execution_runs_its_own_deployment(world: World) -> None:
    incarnation = await world.built()
    stream = await world.deployment(incarnation, "d2")
    await world.builds(await world.process_lease()).run(stream)
    assert (await world.functions())["deployment_id"] == "d2"
    former, usual = await world.request("x1", incarnation, pinned="d-f"), await world.request("x2", incarnation)

    worker = world.executions(await world.process_lease())
    await worker.run(former)
    await worker.run(usual)

    assert [run.deployment for run in world.executor.runs] == ["d-f", "d2"]
    assert (await world.execution("x1"))["deployment_id"] == "d-f"


async def test_pinned_execution_of_a_deleted_deployment_fails_with_that_reason(world: World) -> None:
    incarnation = await world.built()

    await world.executions(await world.process_lease()).run(await world.request("x1", incarnation, pinned="nope"))

    row = await world.execution("x1")
    assert (row["status"], row["reason"]) == ("failed", "deployment_missing")
