"""The follower of schedules: due times of functions."""

from datetime import UTC, datetime, timedelta

import pytest

from annals.domain.commands import deployments as deployment_commands
from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.projections import schedules
from annals.store.log.follower import Follower
from annals.store.postgres.database import Row
from annals.store.postgres.listener import Listener
from tests.integration.projections.history import META, History, P

HOURLY, YEARLY = "0 * * * *", "0 0 1 1 *"


class Schedules:
    def __init__(self, history: History) -> None:
        self.database = history.database
        self.follower = Follower("schedules", schedules.follow, history.log.reader, Listener(history.database), batch=3)

    async def row(self) -> Row | None:
        while await self.follower.catch_up():
            pass
        return await self.database.row("SELECT * FROM schedules WHERE function_id = 'f'")

    async def due(self) -> datetime | None:
        row = await self.row()
        assert row is not None
        due: datetime | None = row["schedule_next"]
        return due


@pytest.fixture
def schedule(history: History) -> Schedules:
    return Schedules(history)


def is_next_hour(moment: datetime | None) -> bool:
    now = datetime.now(UTC)
    return moment is not None and moment.minute == 0 and now - timedelta(seconds=5) < moment <= now + timedelta(hours=1)


async def test_schedule_without_active_deployment_has_no_due_time(history: History, schedule: Schedules) -> None:
    await history.function(schedule=HOURLY)
    await history.upload("d1")
    assert await schedule.due() is None

    await history.claim_build("d1")
    await history.finish_build("d1")

    assert is_next_hour(await schedule.due())


async def test_new_expression_counts_from_now_and_empty_one_stops(history: History, schedule: Schedules) -> None:
    await history.function(schedule=YEARLY)
    await history.deploy("d1")
    assert not is_next_hour(await schedule.due())

    await history.update(schedule=HOURLY)
    assert is_next_hour(await schedule.due())

    await history.update(schedule="")
    assert await schedule.due() is None


async def test_schedule_stops_without_its_active_deployment(history: History, schedule: Schedules) -> None:
    await history.function(schedule=HOURLY)
    await history.deploy("d1")
    keys = (Function.key(P, "f"), Deployment.key(P, "d1"))
    await history.log.run(deployment_commands.delete_deployment, *keys, meta=META)

    assert await schedule.due() is None


async def test_firing_sets_next_and_previous_time(history: History, schedule: Schedules) -> None:
    await history.function(schedule="* * * * *")
    await history.deploy("d1")
    await schedule.row()
    await history.database.execute("UPDATE schedules SET schedule_next = '2020-01-01T00:00Z'")

    fired = await history.request("by-schedule", trigger="schedule")

    row = await schedule.row()
    assert row is not None
    assert fired.recorded_at is not None
    minute = fired.recorded_at.replace(second=0, microsecond=0)
    assert (row["schedule_previous"], row["schedule_next"]) == (minute, minute + timedelta(minutes=1))


async def test_unrelated_change_keeps_the_due_time(history: History, schedule: Schedules) -> None:
    await history.function(schedule=HOURLY)
    await history.deploy("d1")
    await schedule.row()
    overdue = datetime(2020, 1, 1, tzinfo=UTC)
    await history.database.execute("UPDATE schedules SET schedule_next = %s", (overdue,))

    await history.update(schedule=HOURLY, timeout=30)
    await history.deploy("d2")
    await history.request("one-off", trigger="schedule", scheduled_at=datetime(2040, 1, 1, tzinfo=UTC))
    await history.request("by hand")

    assert await schedule.due() == overdue


async def test_deleted_function_has_no_schedule(history: History, schedule: Schedules) -> None:
    await history.function(schedule=HOURLY)
    await history.deploy("d1")
    await schedule.row()
    await history.delete_function()

    assert await schedule.row() is None
