"""Schedules: each slot is one execution for any number of keepers, and missed slots run once."""

import asyncio
from datetime import UTC, datetime, timedelta

from annals.domain.execution import Execution
from annals.domain.function import Configuration, Function
from annals.projections.following import FOLLOWING
from annals.store.content.inputs import Input
from annals.store.log.follower import Follower
from annals.workers.schedules import Schedules, firing_id
from tests.integration.workers.test_recovery import FakeQueue
from tests.integration.workers.world import META, PROJECT, World


async def followed(world: World) -> None:
    follower = Follower("schedules", FOLLOWING["schedules"].handle, world.log.reader, world.listener)
    while await follower.catch_up():
        pass


async def due_at(world: World, due: datetime) -> None:
    """Move the schedule's time to that moment."""
    await followed(world)
    assert await world.database.execute("UPDATE schedules SET schedule_next = %s WHERE schedule <> ''", (due,)) == 1


def schedules(world: World, queue: FakeQueue | None = None) -> Schedules:
    return Schedules(world.log, queue or FakeQueue(), look_back_seconds=5)


async def fired(world: World) -> list[dict[str, object]]:
    return await world.database.rows("SELECT * FROM executions WHERE trigger = 'schedule' ORDER BY sequence")


async def test_two_keepers_fire_a_slot_once(world: World) -> None:
    incarnation = await world.built(schedule="0 0 1 1 *")
    new_year = datetime.now(UTC).replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
    await due_at(world, new_year)

    await asyncio.gather(*(schedules(world).tick() for _ in range(4)))
    await schedules(world).tick()

    [row] = await fired(world)
    assert row["execution_id"] == firing_id(incarnation, new_year)
    assert (row["status"], row["request_method"], row["request_path"]) == ("waiting", "POST", "/")
    assert (row["user_id"], row["deployment_id"], row["scheduled_at"]) == ("", "d-f", None)


async def test_next_slot_is_due_after_a_firing(world: World) -> None:
    await world.built(schedule="0 0 1 1 *")
    await due_at(world, datetime.now(UTC) - timedelta(seconds=1))
    await schedules(world).tick()

    await followed(world)

    row = await world.database.row("SELECT * FROM schedules")
    assert row is not None
    assert row["schedule_next"] == datetime(datetime.now(UTC).year + 1, 1, 1, tzinfo=UTC)
    await schedules(world).tick()
    assert len(await fired(world)) == 1


async def test_missed_slots_run_once_for_the_latest(world: World) -> None:
    incarnation = await world.built(schedule="0 0 * * *")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    await due_at(world, today - timedelta(days=9))

    await schedules(world).tick()
    await followed(world)
    await schedules(world).tick()

    [row] = await fired(world)
    assert row["execution_id"] == firing_id(incarnation, today)
    made = await world.log.load(Execution.key(PROJECT, str(row["execution_id"])))
    assert made.slot == today


async def test_firing_long_after_its_slot_is_marked_late(world: World) -> None:
    await world.built(schedule="0 0 1 1 *")
    await due_at(world, datetime.now(UTC) - timedelta(seconds=1))

    await schedules(world).tick()

    [row] = await fired(world)
    assert (await world.log.load(Execution.key(PROJECT, str(row["execution_id"])))).late


async def test_schedule_without_an_active_deployment_does_not_fire(world: World) -> None:
    await world.function(schedule="* * * * *")
    await followed(world)
    await world.database.execute("UPDATE schedules SET schedule_next = now()")

    await schedules(world).tick()

    assert await fired(world) == []


async def test_removed_schedule_does_not_fire_while_its_follower_lags(world: World) -> None:
    await world.built(schedule="0 0 1 1 *")
    await due_at(world, datetime.now(UTC) - timedelta(seconds=1))
    function = await world.log.load(Function.key(PROJECT, "f"))
    former: Configuration = function.configuration
    without = Configuration(
        name="F", runtime=former.runtime, entrypoint=former.entrypoint,
        build_specification=former.build_specification, runtime_specification=former.runtime_specification,
    )  # fmt: skip
    await world.log.run(Function.update, Function.key(PROJECT, "f"), meta=META, configuration=without)

    await schedules(world).tick()

    assert await fired(world) == []


async def test_scheduled_run_starts_once_when_it_is_due(world: World) -> None:
    incarnation = await world.built()
    now = datetime.now(UTC)
    given = Input(body=b"later")
    due = await world.request("x1", incarnation, scheduled_at=now - timedelta(seconds=1), given=given)
    await world.request("x2", incarnation, scheduled_at=now + timedelta(hours=1))
    first, second = FakeQueue(), FakeQueue()
    keepers = [schedules(world, first), schedules(world, second)]

    for _ in range(2):
        await asyncio.gather(*(keeper.tick() for keeper in keepers))

    assert [w.stream for w in first.sent] == [due], "woken once by each keeper's term"
    assert [w.stream for w in second.sent] == [due]
    workers = [world.executions(await world.process_lease()) for _ in range(2)]
    await asyncio.gather(*(worker.run(w.stream) for worker in workers for w in first.sent + second.sent))
    assert [run.body for run in world.executor.runs] == [b"later"]
    assert dict(world.executor.runs[0].headers)["x-appwrite-trigger"] == "schedule"
    assert (await world.execution("x1"))["status"] == "completed"
    assert (await world.execution("x2"))["status"] == "scheduled"


async def test_deleted_one_off_run_never_runs(world: World) -> None:
    incarnation = await world.built()
    stream = await world.request("x1", incarnation, scheduled_at=datetime.now(UTC))
    execution = await world.log.load(Execution.key(PROJECT, "x1"))
    execution.delete()
    await world.log.record([execution], meta=META)

    await world.executions(await world.process_lease()).run(stream)

    assert world.executor.runs == []
