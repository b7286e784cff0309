"""Relay, queue, workers and keepers together: recorded work is done, even if messages are lost."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from annals.domain.commands.deployments import cancel_build
from annals.domain.deployment import Deployment
from annals.settings import Settings
from annals.store.content.inputs import Input
from annals.store.log.follower import Follower
from annals.store.log.reader import RecordedEvent
from annals.workers import followers, keeper_process, redelivery, worker_process
from tests.integration.workers.processes import Served, settings
from tests.integration.workers.valkey import LOOK_SECONDS, UnhurriedBroker, Valkey, rung_to_its_end, until
from tests.integration.workers.world import META, PROJECT, World

Start = Callable[[], Served]


@pytest.fixture
def configured(database_url: str, valkey: Valkey, tmp_path: Path) -> Settings:
    return settings(database_url, valkey.url, tmp_path, lease_s=60)


@pytest.fixture
async def served() -> AsyncIterator[list[Served]]:
    """The processes in this list are ended after the test."""
    processes: list[Served] = []
    yield processes
    for process in processes:
        process.asked.set()
    for process in processes:
        await process.die()


@pytest.fixture
async def keeper(configured: Settings, served: list[Served]) -> Served:
    served.append(Served().keeper(configured))
    await until(lambda: served[0].doing == "leads")
    return served[0]


async def ended(world: World, count: int) -> bool:
    query = "SELECT count(*) FROM executions WHERE status IN ('completed', 'failed')"
    return int(await world.database.value(query)) == count


async def test_upload_is_built_and_requested_executions_run(
    world: World, configured: Settings, keeper: Served, served: list[Served]
) -> None:
    served.append(Served().worker(configured, world.executor))
    incarnation = await world.function()
    stream = await world.deployment(incarnation)
    await until(lambda: _status(world, "ready"))

    for n in range(50):
        await world.request(f"x{n}", incarnation, given=Input(body=b"%d" % n))

    await until(lambda: ended(world, 50))
    assert sorted(run.body for run in world.executor.runs) == sorted(b"%d" % n for n in range(50))
    assert await world.topics(stream) == [
        "deployment.upload_started",
        "deployment.source_stored",
        "deployment.build_queued",
        "deployment.build_claimed",
        "deployment.build_started",
        "deployment.build_succeeded",
    ]


async def test_every_event_names_its_cause(
    world: World, configured: Settings, keeper: Served, served: list[Served]
) -> None:
    served.append(Served().worker(configured, world.executor))
    incarnation = await world.function()
    build = await world.deployment(incarnation)
    await until(lambda: _status(world, "ready"))
    execution = await world.request("x1", incarnation)
    await until(lambda: ended(world, 1))

    queued, *claimed = (await world.log.reader.of_stream(build))[2:]
    await _follow_from_each_other(queued, claimed[0])
    assert {recorded_event.event.metadata["causation"] for recorded_event in claimed[1:]} == {str(claimed[0].position)}
    for cause, effect in pairwise(await world.log.reader.of_stream(execution)):
        await _follow_from_each_other(cause, effect)


async def test_execution_starts_by_its_recorded_event(
    world: World, configured: Settings, served: list[Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polls of the log, of the queue and of lost messages come only after minutes here."""
    monkeypatch.setattr(followers, "Follower", functools.partial(Follower, poll_seconds=LOOK_SECONDS))
    monkeypatch.setattr(keeper_process, "JobMessageBroker", UnhurriedBroker)
    monkeypatch.setattr(worker_process, "JobMessageBroker", UnhurriedBroker)
    monkeypatch.setattr(redelivery, "_MOMENT_SECONDS", LOOK_SECONDS)
    keeper, worker = Served().keeper(configured), Served().worker(configured, world.executor)
    served += [keeper, worker]
    await until(lambda: (keeper.doing, worker.doing) == ("leads", "idle"))
    incarnation = await world.built()
    for n in range(5):
        await asyncio.sleep(0.1)
        await world.request(f"x{n}", incarnation)
        await until(lambda n=n: ended(world, n + 1))  # type: ignore[misc]
    await rung_to_its_end(worker.end(), configured.redis_url)


async def test_emptied_redis_loses_no_work(
    world: World, configured: Settings, keeper: Served, served: list[Served], valkey: Valkey
) -> None:
    incarnation = await world.built()
    for n in range(20):
        await world.request(f"x{n}", incarnation)
    await until(lambda: _relayed(world))
    valkey.wipe()

    served.append(Served().worker(configured, world.executor))

    await until(lambda: ended(world, 20))
    assert len(world.executor.runs) == 20


async def test_another_keeper_takes_over(
    world: World, configured: Settings, keeper: Served, served: list[Served]
) -> None:
    standby = Served().keeper(configured)
    served += [standby, Served().worker(configured, world.executor)]
    await until(lambda: standby.doing == "stands by")
    incarnation = await world.built()

    await keeper.die()
    await until(lambda: standby.doing == "leads")
    await world.request("x1", incarnation)

    await until(lambda: ended(world, 1))


async def test_build_of_a_lost_worker_is_continued_by_another(
    world: World, configured: Settings, served: list[Served]
) -> None:
    """Leave the claim of a process that is gone, as after a kill."""
    served.append(Served().keeper(msgspec.structs.replace(configured, lease_s=5)))
    await until(lambda: served[0].doing == "leads")
    gone = await world.process_lease()
    stream = await world.deployment(await world.function())
    world.executor.go.clear()
    lost = asyncio.create_task(world.builds(gone).run(stream))
    await until(lambda: len(world.executor.builds) == 1)

    served.append(Served().worker(msgspec.structs.replace(configured, lease_s=2), world.executor))  # beats often

    await until(lambda: len(world.executor.builds) == 2)
    world.executor.go.set()
    await until(lambda: _status(world, "ready"))
    assert (await world.deployed())["epoch"] == 2
    await lost


async def test_cancel_reaches_the_build(
    world: World, configured: Settings, keeper: Served, served: list[Served]
) -> None:
    served.append(Served().worker(configured, world.executor))
    await world.deployment(await world.function())
    world.executor.go.clear()
    await until(lambda: _status(world, "building"))

    await world.log.run(cancel_build, Deployment.key(PROJECT, "d"), meta=META, function_id="f", seconds=1)

    await until(lambda: world.executor.canceled == ["d"])
    assert (await world.deployed())["status"] == "canceled"


async def test_stopping_worker_finishes_short_work_and_hands_back_the_rest(
    world: World, configured: Settings, keeper: Served, served: list[Served]
) -> None:
    worker = Served().worker(configured, world.executor)
    served.append(worker)
    incarnation = await world.built()
    world.executor.go.clear()
    await world.request("x1", incarnation)
    await world.deployment(incarnation, "d2")
    await until(lambda: len(world.executor.runs) == 1 and len(world.executor.builds) == 2)

    await asyncio.wait_for(worker.end(), 60)

    assert (await world.execution("x1"))["reason"] == "worker_lost"
    world.executor.go.set()
    served.append(Served().worker(configured, world.executor))
    await until(lambda: _status(world, "ready", "d2"))


async def test_schedules_and_one_off_runs_run_once_with_two_keepers(
    world: World, configured: Settings, keeper: Served, served: list[Served]
) -> None:
    served += [Served().keeper(configured), Served().worker(configured, world.executor)]
    incarnation = await world.built(schedule="0 0 1 1 *")
    at = datetime.now(UTC) + timedelta(seconds=2)
    await world.request("x1", incarnation, scheduled_at=at)
    await until(lambda: _schedule_is_due(world))

    await until(lambda: _fired(world))
    await until(lambda: ended(world, 2))

    row = await world.execution("x1")
    assert row["started_at"] >= at
    assert len([run for run in world.executor.runs if run.execution == "x1"]) == 1


async def _follow_from_each_other(cause: RecordedEvent, effect: RecordedEvent) -> None:
    assert effect.event.metadata["causation"] == str(cause.position)
    assert effect.event.metadata["correlation"] == "r1"
    assert effect.event.metadata["actor"].startswith("worker:worker-")


async def _schedule_is_due(world: World) -> bool:
    """Move the schedule's time to now, once its follower knows the schedule."""
    return await world.database.execute("UPDATE schedules SET schedule_next = now() WHERE deployment_id <> ''") == 1


async def _fired(world: World) -> bool:
    rows = await world.database.rows("SELECT * FROM executions WHERE scheduled_at IS NULL")
    return len(rows) == 1 and rows[0]["status"] == "completed"


async def _status(world: World, status: str, deployment_id: str = "d") -> bool:
    return bool((await world.deployed(deployment_id))["status"] == status)


async def _relayed(world: World) -> bool:
    at = await world.database.value("SELECT position FROM checkpoints WHERE name = 'relay'")
    return bool(at == await world.log.reader.position())
