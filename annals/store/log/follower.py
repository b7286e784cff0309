"""Followers: read the log in order, at least once, in batches; what they write and how far they are commit together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import psycopg
import structlog

from annals.store.errors import StoreUnavailable
from annals.store.log.event_batch import BatchEntry, EventBatch
from annals.store.log.reader import QUERIES as EVENTS
from annals.store.log.reader import EventReader, RecordedEvent
from annals.store.log.tail_cache import TailCache
from annals.store.postgres import sql
from annals.store.postgres.database import Connection, Database
from annals.store.postgres.listener import Listener

QUERIES = sql.load(__package__, "follower.sql")

Handle = Callable[[Connection, Sequence[RecordedEvent]], Awaitable[None]]
"""Takes a batch in order, within the transaction that also moves the checkpoint. May see a batch twice."""

HandleBatch = Callable[[Connection, EventBatch], Awaitable[None]]
"""The same for who also looks at rows as they are stored: every Handle is one."""

Send = Callable[[Sequence[RecordedEvent]], Awaitable[None]]
"""Takes a batch whose effects lie outside of the database."""

IDLE_SECONDS = 10
"""Longest that a handler may leave its transaction idle: a process stopped in mid-batch keeps others out no longer."""

LAZY_EVENTS, LAZY_SECONDS = 1000, 1.0
"""How much that a follower does not want may lie behind its checkpoint before it is moved for nothing else."""

log = structlog.get_logger(__name__)


class PoisonedBy(Exception):
    """An event that the handler cannot take: the follower stands before it, others go on.

    Keepers of other versions look in its sentence for what stopped whom: `unread` of workers/leadership.sql.
    """

    def __init__(self, name: str, position: int, cause: Exception) -> None:
        super().__init__(f"{name} stands still before position {position}: {type(cause).__name__}: {cause}")
        self.position = position


class Elsewhere(NamedTuple):
    """A handler without a transaction: by the window it is called before the checkpoint moves."""

    send: Send


class Follower:
    """One by name is at work at a time, in however many processes it runs."""

    def __init__(
        self,
        name: str,
        handle: HandleBatch | Elsewhere,
        reader: EventReader,
        listener: Listener,
        *,
        batch: int = 500,
        poll_seconds: float = 1.0,
        gather_seconds: float = 0.0,
        rest_seconds: float = 0.0,
        tail_cache: TailCache | None = None,
        wants: Callable[[Any], bool] | None = None,
        transient: tuple[type[Exception], ...] = (),
    ) -> None:
        """`handle` takes the batches. `transient` are its errors that pass by themselves, beside those of the database
        and of IO.

        `gather_seconds` lets events gather before each batch: for followers that nobody waits for, which then leave
        the process and the database to those that somebody does. A `window` is shared by followers of a process; with
        one, there is no transaction for a batch of which `wants` says that `handle` does nothing about its events, and
        the follower rests behind it.
        """
        self.name, self.batch = name, batch
        self.position = 0
        self._passed = 0  # nothing that it wants lies between the two
        self._passing_since = 0.0
        self._handle, self._reader, self._listener = handle, reader, listener
        self._poll, self._gather, self._rest = poll_seconds, gather_seconds, rest_seconds
        self._tail_cache, self._wants = tail_cache, wants
        self._database: Database = reader.database
        passing: tuple[type[Exception], ...] = (psycopg.OperationalError, StoreUnavailable, OSError)
        self._transient = passing + transient

    async def run(self) -> None:
        """Follow until cancelled. Returns only when an event is poison, after noting it in the checkpoint."""
        pause, polled = 0.05, True
        while True:
            known = self._listener.count
            try:
                done = await self._catch_up_or_note(None if polled else known)
            except self._transient as error:
                log.warning("follower_waits", follower=self.name, error=str(error).strip())
                await asyncio.sleep(pause)
                pause, polled = min(pause * 2, 2.0), True
                continue
            if done is None:
                return
            pause, polled = 0.05, False
            if done < self.batch:
                if done and self._passed != self.position:
                    await asyncio.sleep(self._rest)
                polled = await self._listener.wait(known, self._poll) == known
                await asyncio.sleep(self._gather)

    async def catch_up(self) -> int:
        """Hand on the next batch and return its size, 0 at the end of the log.

        Raises PoisonedBy, once the events before the poisoned one are done, and transient errors as they come.
        """
        return await self._catch_up(None)

    async def _catch_up_or_note(self, heard: int | None) -> int | None:
        """None once an event is poison and all can see it: until that is noted, the event is tried again."""
        try:
            return await self._catch_up(heard)
        except PoisonedBy as poison:
            log.exception("follower_stopped", follower=self.name, position=poison.position)
            await self._note(str(poison))
        return None

    async def _catch_up(self, heard: int | None) -> int:
        """With what the listener counted, by the window; with None, whatever is there, wherever the checkpoint is."""
        try:
            if heard is not None and self._tail_cache is not None:
                return await self._step_by_cache(self._tail_cache, heard)
            return await self._step(self.batch)
        except self._transient:
            raise
        except Exception:
            log.warning("follower_searches_poison", follower=self.name, after=self.position, exc_info=True)
        for done in range(self.batch):
            if not await self._step_or_poison():
                return done
        return self.batch

    async def _step_or_poison(self) -> int:
        try:
            return await self._step(1)
        except self._transient:
            raise
        except Exception as error:
            following = await self._database.value(QUERIES["next"], {"position": self._passed})
            raise PoisonedBy(self.name, following, error) from error

    async def _step_by_cache(self, tail_cache: TailCache, heard: int) -> int:
        batch = await tail_cache.after(self._passed, self.batch, heard)
        if batch is None:
            return await self._step(self.batch)
        if not batch:
            return 0
        unwanted = self._wants is not None and not any(self._wants(recorded_event.event) for recorded_event in batch)
        if unwanted and not self._overdue(batch.end):
            self._passed = batch.end
            return len(batch)
        if not await self._move_by_cache(batch):  # by another copy, or a replay
            return await self._step(self.batch)
        self._stands_at(batch.end)
        return len(batch)

    async def _move_by_cache(self, batch: EventBatch) -> bool:
        """Hand on and move the checkpoint, unless that is elsewhere: then what was sent is sent again."""
        params = {"name": self.name, "former": self.position, "position": batch.end, "idle": f"{IDLE_SECONDS}s"}
        if isinstance(self._handle, Elsewhere):
            await self._handle.send(batch)
            return await self._database.execute(QUERIES["move_from"], params) > 0
        async with self._database.transaction() as conn:
            moved = (await conn.execute(QUERIES["move_from"], params)).rowcount > 0
            if moved:
                await self._hand_on(conn, batch)
        return moved

    def _overdue(self, end: int) -> bool:
        """Whether a checkpoint that lies behind has to be moved, so that who asks sees how far this is."""
        now = asyncio.get_running_loop().time()
        if self._passed == self.position:
            self._passing_since = now
        return end - self.position > LAZY_EVENTS or now - self._passing_since > LAZY_SECONDS

    async def _step(self, limit: int) -> int:
        async with self._database.transaction() as conn:
            position = await self._lock(conn)
            if position != self.position:
                self._stands_at(position)
            params = {"position": self._passed, "limit": limit, "until": None}
            rows = await (await conn.execute(EVENTS["after"], params, binary=True)).fetchall()
            batch = EventBatch([BatchEntry(row, self._reader.recorded_event) for row in rows])
            if batch:
                await self._hand_on(conn, batch)
            end = batch.end if batch else self._passed
            if end != position:
                await conn.execute(QUERIES["move"], {"name": self.name, "position": end})
        self._stands_at(end)
        return len(batch)

    async def _hand_on(self, conn: Connection, batch: EventBatch) -> None:
        if isinstance(self._handle, Elsewhere):
            await self._handle.send(batch)
        else:
            await self._handle(conn, batch)

    def _stands_at(self, position: int) -> None:
        self.position = self._passed = position

    async def _lock(self, conn: Connection) -> int:
        for _ in range(2):
            params = {"name": self.name, "idle": f"{IDLE_SECONDS}s"}
            row = await (await conn.execute(QUERIES["lock"], params)).fetchone()
            if row is not None:
                break
            await conn.execute(QUERIES["add"], {"name": self.name})
        assert row is not None  # noqa: S101 - added in this very transaction
        return int(row["position"])

    async def _note(self, error: str) -> None:
        text = error[:2000].encode("utf-8", "replace").decode().replace("\0", "\ufffd")  # what Postgres takes as text
        params = {"name": self.name, "position": self.position, "error": text}
        await self._database.execute(QUERIES["note"], params)


async def reached(database: Database, name: str, position: int, *, seconds: float) -> bool:
    """Wait until a follower, in whatever process, is at a position; false when it is not there in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        at = await database.value(QUERIES["position"], {"name": name})
        if at is not None and at >= position:
            return True
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.02)
