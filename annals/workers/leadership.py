"""One active keeper: it holds a lock of a Postgres session, which ends with the session.

A keeper whose version cannot read an event gives way to one that can: docs/adr/0028-keeper-leadership.md.
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

CanRead = Callable[[int], Awaitable[bool]]
"""Returns True if this program can read the event at a position."""

QUERIES = sql.load(__package__, "leadership.sql")

log = structlog.get_logger(__name__)


class Leadership:
    """Holds at most one session; a keeper that is paused longer than the idle limit loses it to another."""

    def __init__(self, database: Database, reads: CanRead | None = None) -> None:
        """With `reads`, take the lead from a keeper whose followers wait at events that only this program can read."""
        self._database = database
        self._reads = reads

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Connection]:
        """Wait for the lock and hold it inside the block, where `beat` returns once it is lost."""
        conn = await self._acquire()
        try:
            yield conn
        finally:
            await conn.close()

    async def dismiss(self) -> None:
        """End the term of the leading keeper, so that the next one begins with no memory."""
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
        """Return True if followers of the leading keeper wait at events that only this program can read."""
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
