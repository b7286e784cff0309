"""One active keeper: whoever holds a lock of Postgres' session, which ends with the session, however it ends.

One whose version cannot read an event gives way to one that can: docs/adr/0028-keeper-leadership.md.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg
import structlog

from annals.store.errors import StoreUnavailable
from annals.store.postgres import sql
from annals.store.postgres.database import Connection, Database

_LOCK = 0x616E_6E61_6C73_6B70
_IDLE_LIMIT_MS = 3000
_BEAT_SECONDS = 0.5
_TRY_SECONDS = 0.5
_ANSWER_SECONDS = 2.0
_END_SECONDS = 0.05

Reads = Callable[[int], Awaitable[bool]]
"""Whether this program can read the event at a position."""

QUERIES = sql.load(__package__, "leadership.sql")

log = structlog.get_logger(__name__)


class Leadership:
    """Holds at most one session; a keeper that is paused longer than the idle limit loses it to another."""

    def __init__(self, database: Database, reads: Reads | None = None) -> None:
        """With `reads`, it takes the lead from a keeper whose followers stand before what it reads and they do not."""
        self._database, self._reads = database, reads

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Connection]:
        """Wait until the lock is ours, and hold it while inside. Inside, `beat` tells when it is lost."""
        conn = await self._acquire()
        try:
            yield conn
        finally:
            await conn.close()

    async def dismiss(self) -> None:
        """End the term of whoever leads: the next one begins with nothing remembered."""
        await self._database.execute(QUERIES["dismiss"], {"lock": _LOCK})

    async def beat(self, conn: Connection) -> None:
        """Return once the lock can no longer be relied on."""
        try:
            while True:
                await asyncio.sleep(_BEAT_SECONDS)
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await conn.execute("SELECT 1")
        except (psycopg.Error, TimeoutError) as error:
            log.warning("keeper_lost_the_lead", error=str(error))

    async def _acquire(self) -> Connection:
        conn: Connection | None = None
        while True:
            try:
                if conn is None or conn.closed:
                    conn = await self._database.connect("lead")
                if await _try_lock(conn):
                    await conn.execute(QUERIES["forget_unread"])
                    return conn
                if await self._knows_more():
                    log.warning("keeper_takes_over", reason="the one that leads cannot read what this one can")
                    await self.dismiss()
                    await asyncio.sleep(_END_SECONDS)
                    continue
            except (psycopg.Error, StoreUnavailable) as error:
                log.warning("keeper_cannot_reach_the_database", error=str(error))
            except asyncio.CancelledError:
                if conn is not None:
                    await conn.close()
                raise
            await asyncio.sleep(_TRY_SECONDS)

    async def _knows_more(self) -> bool:
        """Whether followers of the keeper that leads stand before events that only this one can read."""
        if self._reads is None:
            return False
        unread = [row["position"] for row in await self._database.rows(QUERIES["unread"])]
        return bool(unread) and all([await self._reads(position) for position in unread])


async def _try_lock(conn: Connection) -> bool:
    row = await (await conn.execute("SELECT pg_try_advisory_lock(%s) AS held", (_LOCK,))).fetchone()
    if row is None or not row["held"]:
        return False
    await conn.execute(f"SET idle_session_timeout = {_IDLE_LIMIT_MS}")
    return True
