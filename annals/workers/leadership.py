"""One active keeper: whoever holds a lock of Postgres' session, which ends with the session, however it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import structlog

from annals.store import sql
from annals.store.database import Connection, Database

_LOCK = 0x616E_6E61_6C73_6B70
_IDLE_LIMIT_MS = 3000
_BEAT_SECONDS = 0.5
_TRY_SECONDS = 0.5
_ANSWER_SECONDS = 2.0

QUERIES = sql.load(__package__, "leadership.sql")

log = structlog.get_logger(__name__)


class Leadership:
    """Holds at most one session; a keeper that is paused longer than the idle limit loses it to another."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
                    return conn
            except psycopg.Error as error:
                log.warning("keeper_cannot_reach_the_database", error=str(error))
            except asyncio.CancelledError:
                if conn is not None:
                    await conn.close()
                raise
            await asyncio.sleep(_TRY_SECONDS)


async def _try_lock(conn: Connection) -> bool:
    row = await (await conn.execute("SELECT pg_try_advisory_lock(%s) AS held", (_LOCK,))).fetchone()
    if row is None or not row["held"]:
        return False
    await conn.execute(f"SET idle_session_timeout = {_IDLE_LIMIT_MS}")
    return True
