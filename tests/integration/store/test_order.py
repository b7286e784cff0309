"""Positions become visible in order: a follower that reads `position > last` passes over nothing.

Slow transactions of several connections overlap on purpose. The same writers without the lock are the control: there
the reader does miss events, so the test can tell the difference.
"""

import asyncio

import pytest

from annals.store.database import Connection, Database
from annals.store.trips import LOCK

INSERT = (
    "INSERT INTO events (originator_id, originator_version, topic, state, recorded_at)"
    " VALUES (%s, %s, 't', '', date_trunc('milliseconds', clock_timestamp()))"
)
WRITERS, EACH = 4, 25


async def _write(database: Database, writer: int, *, locked: bool) -> None:
    conn = await database.connect("writer")
    try:
        for number in range(1, EACH + 1):
            async with conn.transaction():
                if locked:
                    await conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
                await conn.execute(INSERT, (f"w:p:{writer}", number))
                await conn.execute("SELECT pg_sleep(%s)", (0.001 * (writer + 1),))
    finally:
        await conn.close()


async def _follow(conn: Connection, done: asyncio.Event) -> int:
    """Count what a reader sees that only ever asks for later positions."""
    seen, last = 0, 0
    while True:
        ended = done.is_set()
        cursor = await conn.execute("SELECT notification_id FROM events WHERE notification_id > %s ORDER BY 1", (last,))
        rows = await cursor.fetchall()
        if rows:
            seen, last = seen + len(rows), rows[-1]["notification_id"]
        elif ended:
            return seen
        await asyncio.sleep(0)


@pytest.mark.parametrize("locked", [True, False])
async def test_a_follower_skips_nothing_as_long_as_all_take_the_lock(database: Database, *, locked: bool) -> None:
    done = asyncio.Event()
    async with database.connection() as reader:
        follower = asyncio.create_task(_follow(reader, done))
        await asyncio.gather(*(_write(database, writer, locked=locked) for writer in range(WRITERS)))
        done.set()
        seen = await follower

    if locked:
        assert seen == WRITERS * EACH
    else:
        assert seen < WRITERS * EACH
