"""The keeper: one is active and runs the followers and clocks; others stand by and take over within two seconds.

The active keeper holds a lock of a Postgres session, which ends with the session. A keeper whose version cannot read an
event gives way to one that can: docs/adr/0028-keeper-leadership.md.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import structlog

from annals.store.errors import StoreUnavailable
from annals.store.postgres import sql
from annals.store.postgres.database import Connection, Database

QUERIES = sql.load(__package__, "keeper.sql")

Work = Callable[[], Awaitable[object]]
"""Work that goes on until it is cancelled; called again for each term."""

_CANCEL_AGAIN_SECONDS = 1.0

LAST_SECONDS = 5.0
"""How long a term goes on after one of its works failed, so that a work which always fails stops no other."""

_LOCK = 0x616E_6E61_6C73_6B70
_IDLE_LIMIT_MS = 3000
_BEAT_SECONDS = 0.5
_TRY_SECONDS = 0.5
_ANSWER_SECONDS = 2.0
_END_SECONDS = 0.05

CanRead = Callable[[int], Awaitable[bool]]
"""Returns True if this program can read the event at a position."""

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


class Keeper:
    """Leads at times; `begin` makes the works of one term, so that their memory does not outlive the term."""

    def __init__(self, leadership: Leadership, begin: Callable[[], Sequence[Work]]) -> None:
        self._leadership = leadership
        self._begin = begin
        self.active = False

    async def serve(self) -> None:
        """Lead whenever no other keeper does, until cancelled; after a failed term another begins."""
        while True:
            try:
                async with self._leadership.held() as lead:
                    log.info("keeper_leads")
                    await self._lead(lead)
            except Exception:
                log.exception("keeper_term_failed")
                await asyncio.sleep(LAST_SECONDS)

    async def _lead(self, lead: Connection) -> None:
        works = [asyncio.ensure_future(work()) for work in self._begin()]
        beating = asyncio.ensure_future(self._leadership.beat(lead))
        self.active = True
        try:
            if await _broken(beating, works):
                await asyncio.wait([beating], timeout=LAST_SECONDS)
        finally:
            self.active = False
            await end(beating, *works)


async def _broken(beating: asyncio.Future[None], works: Sequence[asyncio.Future[object]]) -> bool:
    """Return True if a work failed before the lead was lost; a return, as of a follower at a poison event, is none."""
    going: set[asyncio.Future[Any]] = {beating, *works}
    while beating in going:
        ended, going = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
        broken = [work for work in ended if work.cancelled() or work.exception() is not None]
        for work in broken:
            log.error("keeper_work_broke", exc_info=None if work.cancelled() else work.exception())
        if broken:
            return True
    return False


async def end(*tasks: "asyncio.Task[object]") -> None:
    """Cancel tasks until all have ended; a connection that breaks at that moment may hide the first cancellation."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
