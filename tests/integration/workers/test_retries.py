"""Retries: their time, their worker, their input, and the dead letter that remains."""

import asyncio
from datetime import UTC, datetime, timedelta

from annals.domain.commands.executions import cancel_execution
from annals.domain.commands.functions import change_policy
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.policy import Policy, Retries
from annals.domain.ports import Outcome
from annals.projections.following import FOLLOWING
from annals.store.content.inputs import Input
from annals.store.log.follower import Follower
from annals.workers.job_messages import RUN_EXECUTION, Cause
from annals.workers.redelivery import Redelivery
from annals.workers.schedules import Schedules
from tests.integration.workers.executor import HELLO
from tests.integration.workers.test_recovery import FakeQueue, Watchman
from tests.integration.workers.valkey import until
from tests.integration.workers.world import META, PROJECT, World

TWICE = Retries(attempts=2, backoff_seconds=1)
BROKEN = Outcome(status_code=500, reason="crashed", message="It died.", logs="so far", run_seconds=0.5)


async def come_due(world: World) -> None:
    """Wait until the pause is over, which is a second at most."""
    await asyncio.sleep(1.05)
    await world.database.execute("UPDATE executions SET retry_at = now() WHERE retry_at IS NOT NULL")


async def test_failed_run_waits_and_runs_again_with_the_same_input(world: World) -> None:
    stream = await world.request("x1", await world.built(), given=Input(body=b"the same"), retries=TWICE)
    worker = world.executions(await world.process_lease())
    world.executor.outcome = BROKEN
    await worker.run(stream)
    row = await world.execution("x1")
    assert (row["status"], row["reason"], row["epoch"]) == ("waiting", "", 1)
    assert "Attempt 1 failed (crashed), the next one is due at" in row["message"]
    assert await world.kept(stream, "logs") == "so far"

    await come_due(world)
    world.executor.outcome = HELLO
    await worker.run(stream)

    row = await world.execution("x1")
    assert (row["status"], row["message"], row["retry_at"], row["epoch"]) == ("completed", "", None, 2)
    assert [(run.epoch, run.body) for run in world.executor.runs] == [(1, b"the same"), (2, b"the same")]
    assert await world.topics(stream) == [
        "execution.requested",
        "execution.claimed",
        "execution.retry_scheduled",
        "execution.claimed",
        "execution.completed",
    ]


async def test_execution_without_a_successful_attempt_becomes_a_dead_letter_with_its_input(world: World) -> None:
    stream = await world.request("x1", await world.built(), given=Input(body=b"precious"), retries=TWICE)
    worker = world.executions(await world.process_lease())
    world.executor.outcome = BROKEN
    await worker.run(stream)
    await come_due(world)
    await worker.run(stream)

    row = await world.execution("x1")
    assert (row["status"], row["reason"], row["dead_reason"]) == ("failed", "dead_lettered", "crashed")
    assert row["message"] == "Given up after 2 of 2 attempts, the last one with crashed. It died."
    assert await world.contents.read(stream, "input")


async def test_attempt_does_not_begin_before_it_is_due(world: World) -> None:
    patient = Retries(attempts=2, backoff_seconds=600)
    stream = await world.request("x1", await world.built(), retries=patient)
    worker = world.executions(await world.process_lease())
    world.executor.outcome = BROKEN
    await worker.run(stream)

    await worker.run(stream)  # a repeated job message

    assert len(world.executor.runs) == 1
    queue = FakeQueue()
    await Schedules(world.log, queue, look_back_seconds=5).tick()
    clock = iter([0.0, 0.0, 4.0, 4.0])  # a sweep looks once for each queue
    redelivery = Redelivery(world.database, queue, clock=lambda: next(clock))
    assert [await redelivery.sweep() for _ in range(2)] == [0, 0]
    assert queue.sent == []


async def test_keeper_sends_the_job_message_of_a_due_retry_and_repeats_a_lost_one(world: World) -> None:
    stream = await world.request("x1", await world.built(), retries=TWICE)
    world.executor.outcome = BROKEN
    await world.executions(await world.process_lease()).run(stream, Cause(1, META.correlation))
    await come_due(world)
    queue = FakeQueue()

    await Schedules(world.log, queue, look_back_seconds=5).tick()

    [job_message] = queue.sent
    assert (job_message.actor, job_message.stream, job_message.cause.correlation) == (
        RUN_EXECUTION,
        stream,
        META.correlation,
    )
    recorded_events = await world.log.reader.of_stream(stream)
    assert job_message.cause.position == recorded_events[-1].position  # the cause is the former attempt
    await world.database.execute("UPDATE executions SET retry_at = now() - interval '1 minute'")
    clock = iter([0.0, 0.0, 4.0, 4.0])  # a sweep looks once for each queue
    redelivery = Redelivery(world.database, FakeQueue(), clock=lambda: next(clock))
    assert [await redelivery.sweep() for _ in range(2)] == [0, 1]


async def test_run_of_a_lost_worker_is_retried_and_its_late_answer_refused(world: World) -> None:
    stream = await world.request("x1", await world.built(), retries=TWICE)
    world.executor.go.clear()
    lost = await world.process_lease()
    running = asyncio.create_task(world.executions(lost).run(stream))
    await until(lambda: world.executor.runs)

    assert await Watchman(world).watch() == 1

    assert (await world.execution("x1"))["status"] == "waiting"
    await come_due(world)
    second = asyncio.create_task(world.executions(await world.process_lease()).run(stream))
    await until(lambda: len(world.executor.runs) == 2)
    world.executor.go.set()
    await asyncio.gather(running, second)

    assert (await world.execution("x1"))["status"] == "completed"
    topics = await world.topics(stream)
    assert topics.count("execution.completed") == 1
    assert "execution.failed" not in topics


async def test_execution_between_attempts_can_be_canceled(world: World) -> None:
    incarnation = await world.built()
    stream = await world.request("x1", incarnation, retries=TWICE)
    worker = world.executions(await world.process_lease())
    world.executor.outcome = BROKEN
    await worker.run(stream)
    await world.log.run(
        cancel_execution, Execution.key(PROJECT, "x1"), meta=META, function_id="f", incarnation=incarnation
    )

    await come_due(world)
    await worker.run(stream)

    row = await world.execution("x1")
    assert (row["status"], row["reason"], row["retry_at"]) == ("failed", "canceled", None)
    assert len(world.executor.runs) == 1


async def test_schedule_requests_the_retries_of_the_policy(world: World) -> None:
    await world.built(schedule="* * * * *")
    policy = Policy(retries=Retries(attempts=7))
    await world.log.run(change_policy, Function.key(PROJECT, "f"), meta=META, policy=policy)
    follower = Follower("schedules", FOLLOWING["schedules"].handle, world.log.reader, world.listener)
    while await follower.catch_up():
        pass
    await world.database.execute("UPDATE schedules SET schedule_next = %s", (datetime.now(UTC) - timedelta(minutes=1),))

    await Schedules(world.log, FakeQueue(), look_back_seconds=5).tick()

    [row] = await world.database.rows("SELECT execution_id FROM executions")
    execution: Execution = await world.log.load(Execution.key(PROJECT, row["execution_id"]))
    assert execution.retries == policy.retries


async def test_usage_counts_the_time_of_every_attempt_and_the_execution_once(world: World) -> None:
    stream = await world.request("x1", await world.built(), retries=TWICE)
    worker = world.executions(await world.process_lease())
    world.executor.outcome = BROKEN
    await worker.run(stream)
    await come_due(world)
    world.executor.outcome = HELLO
    await worker.run(stream)
    follower = Follower("usage", FOLLOWING["usage"].handle, world.log.reader, world.listener)
    while await follower.catch_up():
        pass

    row = await world.database.row(
        "SELECT sum(executions) AS ended, sum(errors) AS errors, sum(executions_time_ms) AS took"
        " FROM usage_days WHERE cube = 'all'"
    )

    assert row == {"ended": 1, "errors": 0, "took": 512}
