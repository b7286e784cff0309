"""Positions become visible in order: a follower that reads `position > last` passes over nothing.

Slow transactions of several connections overlap on purpose. The control is two of them without the lock: there the
reader does miss an event, so a test can tell the difference.
"""

import asyncio

from annals.store.log.append_modes import LOCK
from annals.store.postgres.database import Connection, Database

INSERT = (
    "INSERT INTO events (originator_id, originator_version, topic, state, recorded_at)"
    " VALUES (%s, %s, 't', '', date_trunc('milliseconds', clock_timestamp()))"
)
WRITERS, EACH = 4, 25


class Reader:
    """A reader that counts events, and only asks for later positions."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self.seen = self._last = 0

    async def read(self) -> bool:
        """Read once, and return True if there were events."""
        query = "SELECT notification_id FROM events WHERE notification_id > %s ORDER BY 1"
        rows = await (await self._conn.execute(query, (self._last,))).fetchall()
        if rows:
            self.seen, self._last = self.seen + len(rows), rows[-1]["notification_id"]
        return bool(rows)


async def _write(database: Database, writer: int) -> None:
    conn = await database.connect("writer")
    try:
        for number in range(1, EACH + 1):
            async with conn.transaction():
                await conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
                await conn.execute(INSERT, (f"w:p:{writer}", number))
                await conn.execute("SELECT pg_sleep(%s)", (0.001 * (writer + 1),))
    finally:
        await conn.close()


async def test_follower_skips_no_event_while_all_writers_take_the_lock(database: Database) -> None:
    async with database.connection() as conn:
        reader = Reader(conn)
        writing = asyncio.gather(*(_write(database, writer) for writer in range(WRITERS)))
        while not writing.done():
            await reader.read()
            await asyncio.sleep(0)
        await writing
        while await reader.read():
            pass

    assert reader.seen == WRITERS * EACH


async def test_follower_without_the_lock_skips_events_that_commit_after_a_later_position(database: Database) -> None:
    async with database.connection() as conn, database.connection() as slow:
        reader = Reader(conn)
        async with slow.transaction():
            await slow.execute(INSERT, ("w:p:slow", 1))
            await database.execute(INSERT, ("w:p:quick", 1))
            assert await reader.read()
        assert not await reader.read()

    assert await database.value("SELECT count(*) FROM events") == 2
    assert reader.seen == 1
