"""The position of a time: the highest one recorded at or before it, also with gaps and equal times."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from annals.store.content.blobs import Blobs
from annals.store.log.archives import Archives
from annals.store.log.mapper import EventMapper
from annals.store.log.reader import EventReader
from annals.store.postgres.database import Database

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("seed", range(6))
async def test_time_means_the_highest_position_recorded_by_then(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    recorded: list[tuple[int, datetime]] = []
    position, at = 0, START
    for _ in range(chance.randint(0, 40)):
        position += chance.choice([1, 1, 1, 2, 17, 1000])  # a batch that was rolled back leaves a gap
        at += timedelta(milliseconds=chance.choice([0, 0, 1, 1, 5000]))
        recorded.append((position, at))
    for position, at in recorded:
        await database.execute(
            "INSERT INTO events (notification_id, originator_id, originator_version, topic, state, recorded_at)"
            " VALUES (%s, 's:p', %s, 't', '', %s)",
            (position, position, at),
        )
    recorded_events = EventReader(database, EventMapper(), Archives(database, Blobs.open("memory://")))

    moments = {START - timedelta(days=1), START, at + timedelta(days=1), *(at for _, at in recorded)}
    moments |= {moment + timedelta(milliseconds=1) for moment in moments}
    for moment in moments:
        assert await recorded_events.position_at(moment) == max((p for p, at in recorded if at <= moment), default=0)
