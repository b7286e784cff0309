"""A synchronous standby that does not answer: noticed from another connection, so that nobody has to wait with it.

What each kind of commit does meanwhile: docs/adr/0039-commits-without-standby.md.
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
"""How often commits in flight are looked at; one that waits at two looks in a row waits for a standby that is away."""

_ANSWER_SECONDS = 5.0

log = structlog.get_logger(__name__)


async def barrier(conn: Connection) -> None:
    """Return once all that is visible on a connection is where a commit is to be. Raises ReplicationUnknown."""
    await conn.run_pipeline([(QUERIES["barrier"], ())])


class _Watched(NamedTuple):
    since: float
    ends: bool


class _Wait(NamedTuple):
    """A commit that waits, told apart from the session's next one."""

    pid: int
    query_start: datetime


class Standby:
    """One per process. `away` while commits in this database, this process's or another's, wait for a standby."""

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
        """While statements run on a connection. With `ends` their wait for a standby that is away is ended.

        They raise ReplicationUnknown then, and what they committed is visible though no standby has it: for rows that
        nobody is told of before a later commit, which waits for the standby with all that came before it.
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
        """Looks only while something has been in flight for longer than a commit usually takes, or waits already."""
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
                self._say(away=bool(still))
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

    def _say(self, *, away: bool) -> None:
        if away == self.away:
            return
        self.away = away
        log.warning("standby_away" if away else "standby_back")
        for callback in self._callbacks:
            callback()
