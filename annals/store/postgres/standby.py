"""Noticing a synchronous standby that does not answer, from another connection, so that callers need not wait.

How each kind of commit behaves meanwhile: docs/adr/0039-commits-without-standby.md.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

import psycopg
import structlog

from annals.store.postgres import sql
from annals.store.postgres.connection import Connection

QUERIES = sql.load(__package__, "standby.sql")

LOOK_SECONDS = 0.5
"""The pause between two checks. A commit that waits at two checks in a row waits for a standby that is away."""

_ANSWER_SECONDS = 5.0

log = structlog.get_logger(__name__)


async def barrier(conn: Connection) -> None:
    """Wait until the synchronous standby has everything that is visible here. Raises ReplicationUnknown."""
    await conn.run_pipeline([(QUERIES["barrier"], ())])


class _Watched(NamedTuple):
    since: float
    ends: bool


class _Wait(NamedTuple):
    """A waiting commit of a session."""

    pid: int
    query_start: datetime


class Standby:
    """The state of the standby: it is `away` while commits in this database, of any process, wait for it."""

    def __init__(self, connect: Callable[[str], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._watched: dict[Connection, _Watched] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self.away = False

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call a function whenever `away` has changed."""
        self._callbacks.append(callback)

    @contextmanager
    def watching(self, conn: Connection, *, ends: bool) -> Iterator[None]:
        """Watch a connection while statements run on it. With `ends`, their wait for an absent standby is canceled.

        They raise ReplicationUnknown then, and their commit is visible although no standby has it. That is right for
        rows that no caller sees before a later commit, which waits for the standby with all commits before it.
        """
        loop = asyncio.get_running_loop()
        self._watched[conn] = _Watched(loop.time(), ends)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._watch(), name="standby")
        try:
            yield
        finally:
            self._watched.pop(conn, None)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _watch(self) -> None:
        """Check the waiting commits while one is slow or the standby is away."""
        seen: set[_Wait] = set()
        conn: Connection | None = None
        try:
            while self._watched or self.away:
                await asyncio.sleep(LOOK_SECONDS)
                if not (self.away or self._slow()):
                    seen = set()
                    continue
                try:
                    async with asyncio.timeout(_ANSWER_SECONDS):
                        if conn is None or conn.closed:
                            conn = await self._connect("standby")
                        waiting = await self._waiting(conn)
                        still, seen = waiting & seen, waiting
                        if still:
                            await self._end_waits(conn)
                except (psycopg.Error, OSError, TimeoutError) as error:
                    log.debug("standby_not_looked_at", error=str(error).strip())
                    still = seen = set()
                self._set(away=bool(still))
        finally:
            if conn is not None:
                await conn.close()

    def _slow(self) -> bool:
        before = asyncio.get_running_loop().time() - LOOK_SECONDS
        return any(one.since <= before for one in self._watched.values())

    async def _waiting(self, conn: Connection) -> set[_Wait]:
        (rows,) = await conn.run_pipeline([(QUERIES["waiting"], ())])
        return {_Wait(row["pid"], row["query_start"]) for row in rows}

    async def _end_waits(self, conn: Connection) -> None:
        before = asyncio.get_running_loop().time() - LOOK_SECONDS
        pids = [c.backend_pid for c, one in self._watched.items() if one.ends and one.since <= before]
        if pids:
            await conn.run_pipeline([(QUERIES["end_waits"], {"pids": pids})])

    def _set(self, *, away: bool) -> None:
        if away == self.away:
            return
        self.away = away
        log.warning("standby_away" if away else "standby_back")
        for callback in self._callbacks:
            callback()
