"""An execution that is told of at a worker's door: begun without the queue, and no less carefully."""

import asyncio
from pathlib import Path

import msgspec

from annals.domain.commands.executions import cancel_execution
from annals.domain.execution import Execution
from annals.domain.policy import Retries
from annals.domain.ports import Outcome
from annals.store.content.inputs import KIND, Input
from annals.store.coordination.direct_dispatch import DirectDispatch, DirectDispatcher, beside
from annals.workers.job_messages import Cause
from tests.integration.workers.executor import HELLO
from tests.integration.workers.processes import Served, settings
from tests.integration.workers.valkey import Valkey, until
from tests.integration.workers.world import META, PROJECT, World

ENDED = ["execution.requested", "execution.claimed", "execution.completed"]


async def told(world: World, stream: str) -> DirectDispatch:
    """What an API process tells of an execution that it has just recorded."""
    (recorded_event,) = await world.log.reader.of_stream(stream)
    stored = world.log.mapper.to_stored_event(recorded_event.event)
    given = await world.contents.read(stream, KIND)
    return DirectDispatch(
        stream, stored.originator_version, recorded_event.position, META.correlation, stored.state, given
    )


async def test_a_worker_begins_what_it_is_told_of_while_neither_queue_nor_keeper_says_so(
    world: World, database_url: str, valkey: Valkey, tmp_path: Path
) -> None:
    executors = (f"unix:{tmp_path}/executor.sock",)
    configured = msgspec.structs.replace(settings(database_url, valkey.url, tmp_path), executor_urls=executors)
    served, direct_dispatcher = Served().worker(configured, world.executor), DirectDispatcher(beside(executors))
    incarnation = await world.built()
    await until(lambda: served.doing == "idle")
    stream = await world.request("x1", incarnation, given=Input(body=b"payload"))
    direct_dispatch = await told(world, stream)

    async def ended() -> bool:
        direct_dispatcher.direct_dispatch(
            direct_dispatch
        )  # again: a worker that has just started has not looked into the queue yet
        return bool((await world.execution("x1"))["status"] == "completed")

    await until(ended)

    assert [run.body for run in world.executor.runs] == [b"payload"]
    assert await world.topics(stream) == ENDED
    await served.end()
    assert list(tmp_path.glob("*.door-*")) == []
    direct_dispatcher.close()


async def test_who_is_told_and_woken_at_once_runs_it_once(world: World) -> None:
    incarnation = await world.built()
    streams = [await world.request(f"x{n}", incarnation, given=Input(body=b"b")) for n in range(20)]
    direct_dispatches = [await told(world, stream) for stream in streams]
    first, second = world.executions(await world.process_lease()), world.executions(await world.process_lease())

    await asyncio.gather(
        *(worker.begin(direct_dispatch) for direct_dispatch in direct_dispatches for worker in (first, second)),
        *(
            worker.run(direct_dispatch.stream, Cause(direct_dispatch.position))
            for direct_dispatch in direct_dispatches
            for worker in (second, first)
        ),
    )

    assert sorted(run.execution for run in world.executor.runs) == sorted(s.split(":")[2] for s in streams)
    for stream in streams:
        assert await world.topics(stream) == ENDED


async def test_what_was_canceled_before_it_is_told_of_does_not_run(world: World) -> None:
    incarnation = await world.built()
    stream = await world.request("x1", incarnation, given=Input(body=b"b"))
    direct_dispatch = await told(world, stream)
    await world.log.run(
        cancel_execution, Execution.key(PROJECT, "x1"), meta=META, function_id="f", incarnation=incarnation
    )

    await world.executions(await world.process_lease()).begin(direct_dispatch)

    assert world.executor.runs == []
    assert (await world.execution("x1"))["reason"] == "canceled"


async def test_what_it_was_given_is_read_where_the_knock_does_not_hold_it(world: World) -> None:
    stream = await world.request("x1", await world.built(), given=Input(body=b"payload"))
    direct_dispatch = msgspec.structs.replace(await told(world, stream), given=b"")

    await world.executions(await world.process_lease()).begin(direct_dispatch)

    assert [run.body for run in world.executor.runs] == [b"payload"]


async def test_the_wake_up_that_follows_changes_nothing_and_that_of_the_next_attempt_is_heard(world: World) -> None:
    retries = Retries(attempts=2, backoff_seconds=1)
    stream = await world.request("x1", await world.built(), given=Input(body=b"b"), retries=retries)
    direct_dispatch = await told(world, stream)
    executions = world.executions(await world.process_lease())
    world.executor.outcome = Outcome(status_code=500, reason="crashed", message="It died.")
    await executions.begin(direct_dispatch)

    await executions.run(stream, Cause(direct_dispatch.position, direct_dispatch.correlation))
    await asyncio.sleep(1.05)  # until the pause before the next attempt is over
    await executions.run(stream, Cause(direct_dispatch.position, direct_dispatch.correlation))
    assert [run.epoch for run in world.executor.runs] == [1]
    retry = (await world.log.reader.of_stream(stream))[-1]
    world.executor.outcome = HELLO
    await executions.run(stream, Cause(retry.position, direct_dispatch.correlation))

    assert [run.epoch for run in world.executor.runs] == [1, 2]
    assert (await world.execution("x1"))["status"] == "completed"
