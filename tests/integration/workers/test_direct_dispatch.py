"""Direct dispatch starts an execution without the queue, with the same checks."""

import asyncio
from pathlib import Path

import msgspec

from annals.domain.commands.executions import cancel_execution
from annals.domain.execution import Execution
from annals.domain.policy import Retries
from annals.domain.ports import Outcome
from annals.store.content.inputs import KIND, Input
from annals.store.coordination.direct_dispatch import DirectDispatch, DirectDispatcher, socket_prefix
from annals.workers.job_messages import Cause
from tests.integration.workers.executor import HELLO
from tests.integration.workers.processes import Served, settings
from tests.integration.workers.valkey import Valkey, until
from tests.integration.workers.world import META, PROJECT, World

ENDED = ["execution.requested", "execution.claimed", "execution.completed"]


async def dispatch_of(world: World, stream: str) -> DirectDispatch:
    """Return the direct dispatch of an API process that just recorded an execution."""
    (recorded_event,) = await world.log.reader.of_stream(stream)
    stored = world.log.mapper.to_stored_event(recorded_event.event)
    given = await world.contents.read(stream, KIND)
    return DirectDispatch(
        stream, stored.originator_version, recorded_event.position, META.correlation, stored.state, given
    )


async def test_direct_dispatch_starts_an_execution_without_queue_and_keeper(
    world: World, database_url: str, valkey: Valkey, tmp_path: Path
) -> None:
    executors = (f"unix:{tmp_path}/executor.sock",)
    configured = msgspec.structs.replace(settings(database_url, valkey.url, tmp_path), executor_urls=executors)
    served, direct_dispatcher = Served().worker(configured, world.executor), DirectDispatcher(socket_prefix(executors))
    incarnation = await world.built()
    await until(lambda: served.doing == "idle")
    stream = await world.request("x1", incarnation, given=Input(body=b"payload"))
    direct_dispatch = await dispatch_of(world, stream)

    async def ended() -> bool:
        # Sent again each time: a worker that just started takes no direct dispatch until it has looked into the queue.
        direct_dispatcher.send(direct_dispatch)
        return bool((await world.execution("x1"))["status"] == "completed")

    await until(ended)

    assert [run.body for run in world.executor.runs] == [b"payload"]
    assert await world.topics(stream) == ENDED
    await served.end()
    assert list(tmp_path.glob("*.door-*")) == []
    direct_dispatcher.close()


async def test_dispatched_and_queued_execution_runs_once(world: World) -> None:
    incarnation = await world.built()
    streams = [await world.request(f"x{n}", incarnation, given=Input(body=b"b")) for n in range(20)]
    direct_dispatches = [await dispatch_of(world, stream) for stream in streams]
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


async def test_execution_canceled_before_its_direct_dispatch_does_not_run(world: World) -> None:
    incarnation = await world.built()
    stream = await world.request("x1", incarnation, given=Input(body=b"b"))
    direct_dispatch = await dispatch_of(world, stream)
    await world.log.run(
        cancel_execution, Execution.key(PROJECT, "x1"), meta=META, function_id="f", incarnation=incarnation
    )

    await world.executions(await world.process_lease()).begin(direct_dispatch)

    assert world.executor.runs == []
    assert (await world.execution("x1"))["reason"] == "canceled"


async def test_direct_dispatch_without_the_input_reads_it(world: World) -> None:
    stream = await world.request("x1", await world.built(), given=Input(body=b"payload"))
    direct_dispatch = msgspec.structs.replace(await dispatch_of(world, stream), input=b"")

    await world.executions(await world.process_lease()).begin(direct_dispatch)

    assert [run.body for run in world.executor.runs] == [b"payload"]


async def test_job_message_after_a_direct_dispatch_is_ignored_and_the_next_attempts_is_not(world: World) -> None:
    retries = Retries(attempts=2, backoff_seconds=1)
    stream = await world.request("x1", await world.built(), given=Input(body=b"b"), retries=retries)
    direct_dispatch = await dispatch_of(world, stream)
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
