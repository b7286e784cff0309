"""Deleting a function ends all of its accepted work once, and no more work begins for it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from annals.application import deletion as module
from annals.application.deletion import end_project, try_end_project
from annals.domain.commands.deployments import create_deployment
from annals.domain.deployment import Deployment
from annals.domain.errors import FunctionNotFound
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.policy import Retries
from annals.domain.ports import Outcome
from annals.domain.project import Project
from annals.workers.cleanup import BlobGarbage, Cleanup, RetentionSweeper
from tests.integration.workers.world import META, PROJECT, SOURCE, World

ENDS = {
    *("execution.completed", "execution.failed", "execution.dead_lettered", "execution.canceled"),
    *("deployment.build_succeeded", "deployment.build_failed", "deployment.build_canceled"),
}


async def delete(world: World, function_id: str = "f") -> str:
    await world.log.run(Function.delete, Function.key(PROJECT, function_id), meta=META)
    return Function.stream(PROJECT, function_id)


def retention(world: World) -> RetentionSweeper:
    return RetentionSweeper(world.log, execution_days=0)


async def retire(world: World, stream: str) -> None:
    blob_garbage = BlobGarbage(world.database, world.contents, grace=timedelta(hours=1))
    await Cleanup(world.log, world.executor, retention(world), blob_garbage).retire_function(stream)


async def some_work(world: World) -> list[str]:
    """Make executions and builds in every state, and return their streams."""
    incarnation = await world.built()
    worker = world.executions(await world.process_lease())
    done, retried = await world.request("done", incarnation), "retried"
    await worker.run(done)
    world.executor.outcome = Outcome(status_code=500, reason="crashed", message="It died.")
    retries = Retries(attempts=3, backoff_seconds=600)
    await worker.run(await world.request(retried, incarnation, retries=retries))
    later = datetime.now(UTC) + timedelta(hours=1)
    await world.request("scheduled", incarnation, scheduled_at=later)
    await world.request("running", incarnation, worker="somebody")
    await world.request("waiting", incarnation)
    claimed = await world.deployment(incarnation, "claimed")
    await world.log.run(Deployment.claim_build, Deployment.key(PROJECT, "claimed"), meta=META, worker="somebody")
    executions = [Execution.stream(PROJECT, name) for name in ("done", "scheduled", "running", "waiting", retried)]
    builds = [Deployment.stream(PROJECT, "d-f"), claimed, await world.deployment(incarnation, "queued")]
    return executions + builds


async def ends(world: World, streams: list[str]) -> dict[str, list[str]]:
    return {stream: [topic for topic in await world.topics(stream) if topic in ENDS] for stream in streams}


async def position(world: World) -> int:
    return int(await world.database.value("SELECT max(notification_id) FROM events"))


async def test_accepted_execution_ends_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    streams = await some_work(world)
    stream = await delete(world)

    await retire(world, stream)

    found = await ends(world, streams)
    canceled = {name: ["execution.canceled"] for name in streams if name.startswith("execution:")}
    canceled |= {name: ["deployment.build_canceled"] for name in streams if name.startswith("deployment:")}
    canceled |= {streams[0]: ["execution.completed"], streams[5]: ["deployment.build_succeeded"]}
    assert found == canceled
    for table in ("executions", "deployments", "abandoned_builds"):
        assert await world.database.value(f"SELECT count(*) FROM {table}") == 0  # noqa: S608
    (last,) = [recorded_event.event for recorded_event in await world.log.reader.of_stream(streams[3])][-1:]
    assert (last.reason, last.metadata["actor"]) == ("function_deleted", "retention")
    before = await position(world)
    await retire(world, stream)
    assert await position(world) == before, "a repeat records nothing"


async def test_builds_end_without_a_job_message(world: World) -> None:
    streams = await some_work(world)
    await delete(world)

    assert await retention(world).end_abandoned_builds() == 2
    assert await retention(world).end_abandoned_builds() == 0

    found = await ends(world, streams[5:])
    assert all(len(topics) == 1 for topics in found.values()), found


async def test_retention_ends_executions_before_it_sweeps_them(world: World) -> None:
    streams = await some_work(world)
    await delete(world)

    await retention(world).sweep_executions(datetime.now(UTC))

    found = await ends(world, streams[:5])
    assert all(len(topics) == 1 for topics in found.values()), found
    assert await world.database.value("SELECT count(*) FROM executions") == 0


async def test_project_deletion_ends_all_accepted_work(world: World) -> None:
    streams = await some_work(world)
    before = await position(world)
    would = [event for one in await try_end_project(world.log, PROJECT, META) for event in one.events]

    ended = await end_project(world.log, PROJECT, META)

    recorded = await world.log.reader.after(before, 100)
    assert sorted((e.originator_id, e.TOPIC) for e in would) == sorted(
        (f.event.originator_id, f.event.TOPIC) for f in recorded
    )

    for stream in streams:
        last = (await world.log.reader.of_stream(stream))[-1]
        assert last.position < ended.position
    found = await ends(world, streams)
    assert all(len(topics) == 1 for topics in found.values()), found
    assert (await world.topics(Project.stream(PROJECT)))[-1] == "project.deleted"


async def test_reused_function_id_ends_the_work_of_the_former_function(world: World) -> None:
    stream = await world.deployment(await world.function(), "d")
    await delete(world)

    await world.deployment(await world.function(), "d")
    await retention(world).end_abandoned_builds()

    begun = ["deployment.upload_started", "deployment.source_stored", "deployment.build_queued"]
    assert await world.topics(stream) == [*begun, "deployment.build_canceled", *begun]
    assert (await world.deployed("d"))["status"] == "waiting"


async def test_deleted_function_starts_no_work(world: World) -> None:
    incarnation = await world.function()
    recorded_events: dict[str, Any] = {
        "project_id": PROJECT,
        "function_id": "f",
        "function_incarnation": incarnation,
        "type": "manual",
        "entrypoint": "main.js",
        "commands": "",
        "activate": True,
        "size": 77,
    }
    begun = {**recorded_events, "deployment_id": "begun"}
    await world.log.run(Deployment.begin, Deployment.absent(PROJECT, "begun"), meta=META, **begun)
    await delete(world)
    before = await position(world)

    late = {**recorded_events, "deployment_id": "late"}
    for command, sent in ((Deployment.begin, late), (create_deployment, {**late, "source": SOURCE})):
        with pytest.raises(FunctionNotFound):
            await world.log.run(command, Deployment.absent(PROJECT, "late"), meta=META, **sent)
    with pytest.raises(FunctionNotFound):
        await world.log.run(Deployment.store_source, Deployment.key(PROJECT, "begun"), meta=META, source=SOURCE)

    assert await position(world) == before
