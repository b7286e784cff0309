"""Traffic shares of executions that run later: by a worker, a schedule, an event or a retry."""

from datetime import UTC, datetime, timedelta
from typing import Any

from annals.domain.commands.deployments import delete_deployment
from annals.domain.commands.functions import change_policy
from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.policy import Policy, Share
from tests.integration.workers.executor import HELLO
from tests.integration.workers.test_retention import retention
from tests.integration.workers.test_retries import BROKEN, TWICE, come_due
from tests.integration.workers.test_schedules import due_at, fired, schedules
from tests.integration.workers.test_triggers import followed, triggered, user
from tests.integration.workers.world import META, PROJECT, World


async def two_deployments(world: World, percent: int = 100, **changes: Any) -> int:
    """Make a function whose active deployment `d-f` shares its calls with `canary`; return its incarnation."""
    incarnation = await world.built(**changes)
    builds = world.builds(await world.process_lease())
    await builds.run(await world.deployment(incarnation, "canary", activate=False))
    await share(world, percent)
    assert (await world.functions())["deployment_id"] == "d-f"
    return incarnation


async def share(world: World, percent: int) -> None:
    """Give the canary that share of the calls."""
    traffic = [Share(deployment_id="canary", percent=percent)] if percent else []
    await world.log.run(
        change_policy,
        Function.key(PROJECT, "f"),
        *(Deployment.key(PROJECT, one.deployment_id) for one in traffic),
        meta=META,
        policy=Policy(traffic=traffic),
        incarnation=world.incarnations["f"],
    )


async def test_waiting_execution_runs_the_share_of_its_id(world: World) -> None:
    incarnation = await two_deployments(world, 50)
    worker = world.executions(await world.process_lease())
    names = [f"x{number}" for number in range(12)]
    for name in names:
        await worker.run(await world.request(name, incarnation))

    chosen = {name: Policy(traffic=[Share(deployment_id="canary", percent=50)]).share_of(name) for name in names}
    ran = {run.execution: run.deployment for run in world.executor.runs}
    assert ran == {name: share or "d-f" for name, share in chosen.items()}
    assert set(ran.values()) == {"d-f", "canary"}
    assert {name: (await world.execution(name))["deployment_id"] for name in names} == ran


async def test_pinned_execution_is_not_part_of_the_traffic_shares(world: World) -> None:
    incarnation = await two_deployments(world)

    await world.executions(await world.process_lease()).run(await world.request("x", incarnation, pinned="d-f"))

    assert [run.deployment for run in world.executor.runs] == ["d-f"]


async def test_retry_runs_the_deployment_of_the_first_attempt(world: World) -> None:
    incarnation = await two_deployments(world)
    worker = world.executions(await world.process_lease())
    world.executor.outcome = BROKEN
    shared = await world.request("shared", incarnation, retries=TWICE)
    await worker.run(shared)
    await share(world, 0)
    unshared = await world.request("unshared", incarnation, retries=TWICE)
    await worker.run(unshared)
    await share(world, 100)

    await come_due(world)
    world.executor.outcome = HELLO
    for stream in (shared, unshared):
        await worker.run(stream)

    runs = [(run.execution, run.epoch, run.deployment) for run in world.executor.runs]
    assert runs == [
        ("shared", 1, "canary"),
        ("unshared", 1, "d-f"),
        ("shared", 2, "canary"),
        ("unshared", 2, "d-f"),
    ]


async def test_share_of_a_deleted_deployment_falls_to_the_active_one(world: World) -> None:
    incarnation = await two_deployments(world)
    keys = Function.key(PROJECT, "f"), Deployment.key(PROJECT, "canary")
    await world.log.run(delete_deployment, *keys, meta=META)

    stream = await world.request("x", incarnation)
    await world.executions(await world.process_lease()).run(stream)

    row = await world.execution("x")
    assert (row["status"], row["deployment_id"]) == ("completed", "d-f")
    ended = (await world.log.reader.of_stream(stream))[-1].event
    assert isinstance(ended, Execution.Completed)
    assert not ended.ran.routed


async def test_execution_runs_no_share_without_an_active_deployment(world: World) -> None:
    incarnation = await two_deployments(world)
    await world.log.run(delete_deployment, Function.key(PROJECT, "f"), Deployment.key(PROJECT, "d-f"), meta=META)

    await world.executions(await world.process_lease()).run(await world.request("x", incarnation))

    assert (await world.execution("x"))["reason"] == "deployment_missing"


async def test_schedules_and_events_are_shared_as_well(world: World) -> None:
    await two_deployments(world, schedule="0 0 1 1 *", events=["users.*.create"])
    await due_at(world, datetime.now(UTC) - timedelta(seconds=1))
    await schedules(world).tick()
    await user(world)
    await followed(world)

    rows = await fired(world) + await triggered(world)
    assert [(row["trigger"], row["deployment_id"]) for row in rows] == [("schedule", "canary"), ("event", "canary")]
    worker = world.executions(await world.process_lease())
    for row in rows:
        await worker.run(str(row["stream_id"]))
    assert [run.deployment for run in world.executor.runs] == ["canary", "canary"]


async def test_deployment_with_calls_outlives_its_functions_retention(world: World) -> None:
    await two_deployments(world, 1, deployment_retention=3)
    later = datetime.now(UTC) + timedelta(days=4)

    assert await retention(world).drop_deployments(later) == 0
    await share(world, 0)
    assert await retention(world).drop_deployments(later) == 1
