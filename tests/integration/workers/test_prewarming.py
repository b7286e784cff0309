"""Prewarming: instances are started before a call, by policy and before a schedule is due."""

from datetime import UTC, datetime, timedelta

from annals.domain.commands.functions import activate_deployment, change_policy
from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.domain.policy import Policy, Scaling
from annals.workers.followers import job_messages
from annals.workers.job_messages import WARM_FUNCTION
from annals.workers.prewarming import Prewarming, PrewarmingSweep
from tests.integration.workers.test_recovery import FakeQueue
from tests.integration.workers.test_schedules import due_at
from tests.integration.workers.world import META, PROJECT, World

STREAM = Function.stream(PROJECT, "f")


def prewarming(world: World) -> Prewarming:
    return Prewarming(world.database, world.environments, world.executor, start_seconds=30.0)


async def keep_warm(world: World, instances: int) -> None:
    policy = Policy(scaling=Scaling(min_warm=instances, max_instances=4, idle_seconds=60))
    await world.log.run(change_policy, Function.key(PROJECT, "f"), meta=META, policy=policy)


async def wanted(world: World) -> list[str]:
    queue = FakeQueue()
    await PrewarmingSweep(world.database, queue).sweep()
    assert {job_message.actor for job_message in queue.sent} <= {WARM_FUNCTION}
    return [job_message.stream for job_message in queue.sent]


async def test_prewarming_starts_the_policys_instances_with_the_environment_of_a_call(world: World) -> None:
    await world.built()
    await keep_warm(world, 2)
    assert await wanted(world) == [STREAM]

    await prewarming(world).warm(STREAM)

    [(run, instances, seconds)] = world.executor.prewarmed
    assert (instances, run.deployment, run.max_instances, run.idle_seconds) == (2, "d-f", 4, 60.0)
    assert seconds > 10
    stream = await world.request("x1", world.incarnations["f"])
    await world.executions(await world.process_lease()).run(stream)
    [called] = world.executor.runs
    assert (called.environment_digest, called.max_instances) == (run.environment_digest, 4)


async def test_function_without_warm_instances_in_its_policy_has_none(world: World) -> None:
    await world.built()
    assert await wanted(world) == []
    await prewarming(world).warm(STREAM)
    await keep_warm(world, 1)
    await keep_warm(world, 0)
    assert await wanted(world) == []
    await prewarming(world).warm(STREAM)
    assert world.executor.prewarmed == []


async def test_function_without_a_deployment_has_no_warm_instances(world: World) -> None:
    await world.function()
    await keep_warm(world, 3)
    assert await wanted(world) == []
    await prewarming(world).warm(STREAM)
    assert world.executor.prewarmed == []


async def test_prewarming_starts_an_instance_shortly_before_a_schedule(world: World) -> None:
    await world.built(schedule="0 0 1 1 *")
    await due_at(world, datetime.now(UTC) + timedelta(hours=1))
    assert await wanted(world) == []
    await due_at(world, datetime.now(UTC) + timedelta(seconds=6))
    assert await wanted(world) == [STREAM]

    await prewarming(world).warm(STREAM)

    [(_, instances, _)] = world.executor.prewarmed
    assert instances == 1


async def test_changed_policy_and_activation_prewarm_at_once(world: World) -> None:
    incarnation = await world.built()
    await keep_warm(world, 1)
    other = await world.deployment(incarnation, "d2")
    await world.builds(await world.process_lease()).run(other)
    await world.log.run(
        activate_deployment, Function.key(PROJECT, "f"), Deployment.key(PROJECT, "d-f"), meta=META
    )  # fmt: skip

    recorded_events = await world.log.reader.of_stream(STREAM)

    assert [
        job_message.stream for job_message in job_messages(recorded_events) if job_message.actor == WARM_FUNCTION
    ] == [STREAM] * 4
