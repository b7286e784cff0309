"""Followers: handle the log in order, at least once, in batches; effects and checkpoint commit together.

A follower reads its batches from the process's tail cache or from the log's table (reader.py), keeps its position in a
row of `checkpoints`, and handles a batch that fails again, event by event, to find the event that fails.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import psycopg
import structlog

from annals.store.errors import StoreUnavailable
from annals.store.log.reader import EventBatch, EventReader, RecordedEvent
from annals.store.log.tail_cache import TailCache
from annals.store.postgres import sql
from annals.store.postgres.database import Connection, Database
from annals.store.postgres.listener import Listener

QUERIES = sql.load(__package__, "follower.sql")

IDLE_SECONDS = 10
"""The longest time that a handler may leave its transaction idle: a stopped process soon frees the row."""

LAZY_EVENTS, LAZY_SECONDS = 1000, 1.0
"""How far, and how long, the row may stay behind events that the follower does not want."""

Handle = Callable[[Connection, Sequence[RecordedEvent]], Awaitable[None]]
"""Handles a batch in order, in the transaction that also moves the checkpoint. It may get a batch twice."""

HandleBatch = Callable[[Connection, EventBatch], Awaitable[None]]
"""The same for handlers that also read the stored rows: every Handle is one."""

Send = Callable[[Sequence[RecordedEvent]], Awaitable[None]]
"""Handles a batch with effects outside the database."""

log = structlog.get_logger(__name__)


class PoisonedBy(Exception):
    """The handler fails at an event: the follower stays before it, other followers go on.

    Keepers of other versions read this sentence: the query `unread` of workers/keeper.sql.
    """

    def __init__(self, name: str, position: int, cause: Exception) -> None:
        super().__init__(f"{name} stands still before position {position}: {type(cause).__name__}: {cause}")
        self.position = position


class FollowerCheckpoint:
    """The row of one follower, and what this process knows of it.

    `position` is the row's position as last seen. `scanned` may lie further: no event between the two concerns the
    follower.
    """

    def __init__(self, database: Database, name: str) -> None:
        self.name = name
        self.position = self.scanned = 0
        self._database = database
        self._behind_since = 0.0

    def stand_at(self, position: int) -> None:
        """Note that the row is at a position."""
        self.position = self.scanned = position

    def may_stay_behind(self, end: int) -> bool:
        """Return whether the row may stay behind although nothing up to `end` concerns the follower."""
        now = asyncio.get_running_loop().time()
        if self.scanned == self.position:
            self._behind_since = now
        return end - self.position <= LAZY_EVENTS and now - self._behind_since <= LAZY_SECONDS

    async def lock(self, conn: Connection) -> None:
        """Lock the row, which holds back other processes' copies of the follower, and read its position."""
        params = {"name": self.name, "idle": f"{IDLE_SECONDS}s"}
        row = await (await conn.execute(QUERIES["lock"], params)).fetchone()
        if row is None:
            await conn.execute(QUERIES["add"], {"name": self.name})
            row = await (await conn.execute(QUERIES["lock"], params)).fetchone()
        assert row is not None  # noqa: S101 - added in this transaction
        if row["position"] != self.position:
            self.stand_at(int(row["position"]))

    async def move(self, conn: Connection, position: int) -> None:
        """Move the locked row."""
        await conn.execute(QUERIES["move"], {"name": self.name, "position": position})

    async def move_on(self, position: int, conn: Connection | None = None) -> bool:
        """Lock and move the row in one statement; False if another process moved it.

        Without a connection the statement is its own transaction.
        """
        params = {
            "name": self.name,
            "former": self.position,
            "position": position,
            "idle": f"{IDLE_SECONDS}s",
        }
        if conn is None:
            return await self._database.execute(QUERIES["move_from"], params) > 0
        return (await conn.execute(QUERIES["move_from"], params)).rowcount > 0

    async def note_error(self, error: str) -> None:
        """Show in the row why the follower stopped."""
        text = error[:2000].encode("utf-8", "replace").decode().replace("\0", "\ufffd")  # text that Postgres accepts
        params = {"name": self.name, "position": self.position, "error": text}
        await self._database.execute(QUERIES["note"], params)

    async def next_position(self) -> int:
        """Return the position of the first event that the follower has not handled."""
        return int(await self._database.value(QUERIES["next"], {"position": self.scanned}))


class ExternalHandler(NamedTuple):
    """A handler without a transaction: its batch is sent before the checkpoint moves."""

    send: Send


async def handle_one_by_one(
    step: Callable[[], Awaitable[int]],
    most: int,
    checkpoint: FollowerCheckpoint,
    transient: tuple[type[Exception], ...],
) -> int:
    """Handle the events of a failed batch one at a time and return their number.

    `step` handles the next event and returns 0 at the end of the log. Raises PoisonedBy at the event that fails, once
    the events before it are handled, and transient errors.
    """
    for handled in range(most):
        try:
            if not await step():
                return handled
        except transient:
            raise
        except Exception as error:
            raise PoisonedBy(checkpoint.name, await checkpoint.next_position(), error) from error
    return most


class Follower:
    """Hands the log's events to a handler. Copies in several processes take turns by the checkpoint's row lock."""

    def __init__(
        self,
        name: str,
        handle: HandleBatch | ExternalHandler,
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
        """Make a follower; `run` starts it.

        `transient` are errors of `handle` that pass by themselves, beside those of the database and of IO. With
        `gather_seconds` events gather before each batch, which leaves the processor to more urgent work. A
        `tail_cache` is shared by the followers of a process. With one, a batch without an event that `wants` accepts
        takes no transaction, and the follower rests for `rest_seconds` after it.
        """
        self.name = name
        self.batch = batch
        self._checkpoint = FollowerCheckpoint(reader.database, name)
        self._handle = handle
        self._reader = reader
        self._listener = listener
        self._database = reader.database
        self._poll_seconds = poll_seconds
        self._gather_seconds = gather_seconds
        self._rest_seconds = rest_seconds
        self._tail_cache = tail_cache
        self._wants = wants
        passing: tuple[type[Exception], ...] = (psycopg.OperationalError, StoreUnavailable, OSError)
        self._transient = passing + transient

    @property
    def position(self) -> int:
        """Return the checkpoint's position."""
        return self._checkpoint.position

    async def run(self) -> None:
        """Follow until cancelled. Returns only at a poisonous event, after noting it in the checkpoint."""
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
                if done and self._checkpoint.scanned != self._checkpoint.position:
                    await asyncio.sleep(self._rest_seconds)
                polled = await self._listener.wait(known, self._poll_seconds) == known
                await asyncio.sleep(self._gather_seconds)

    async def catch_up(self) -> int:
        """Handle the next batch and return its size, 0 at the end of the log.

        Raises PoisonedBy, once the events before the poisonous one are handled, and transient errors.
        """
        return await self._catch_up(None)

    async def _catch_up_or_note(self, heard: int | None) -> int | None:
        """Catch up; None after a poisonous event was noted. While the note fails, the event is tried again."""
        try:
            return await self._catch_up(heard)
        except PoisonedBy as poison:
            log.exception("follower_stopped", follower=self.name, position=poison.position)
            await self._checkpoint.note_error(str(poison))
        return None

    async def _catch_up(self, heard: int | None) -> int:
        """Handle a batch of the tail cache up to the count that the listener `heard`; with None, of the table."""
        try:
            if heard is not None and self._tail_cache is not None:
                return await self._step_by_cache(self._tail_cache, heard)
            return await self._step(self.batch)
        except self._transient:
            raise
        except Exception:
            after = self._checkpoint.position
            log.warning("follower_searches_poison", follower=self.name, after=after, exc_info=True)
        return await handle_one_by_one(lambda: self._step(1), self.batch, self._checkpoint, self._transient)

    async def _step_by_cache(self, tail_cache: TailCache, heard: int) -> int:
        checkpoint = self._checkpoint
        batch = await tail_cache.after(checkpoint.scanned, self.batch, heard)
        if batch is None:
            return await self._step(self.batch)
        if not batch:
            return 0
        unwanted = self._wants is not None and not any(self._wants(recorded.event) for recorded in batch)
        if unwanted and checkpoint.may_stay_behind(batch.end):
            checkpoint.scanned = batch.end
            return len(batch)
        if not await self._handle_cached(batch):  # another copy or a replay moved the checkpoint
            return await self._step(self.batch)
        checkpoint.stand_at(batch.end)
        return len(batch)

    async def _handle_cached(self, batch: EventBatch) -> bool:
        """Handle a batch and move the checkpoint; False if it was moved elsewhere: a sent batch is sent again then."""
        if isinstance(self._handle, ExternalHandler):
            await self._handle.send(batch)
            return await self._checkpoint.move_on(batch.end)
        async with self._database.transaction() as conn:
            moved = await self._checkpoint.move_on(batch.end, conn)
            if moved:
                await self._handle(conn, batch)
        return moved

    async def _step(self, limit: int) -> int:
        """Handle the next batch of the log's table under the checkpoint's lock, and return its size."""
        checkpoint = self._checkpoint
        async with self._database.transaction() as conn:
            await checkpoint.lock(conn)
            batch = await self._reader.batch_after(conn, checkpoint.scanned, limit)
            if batch:
                await self._hand_on(conn, batch)
            end = batch.end if batch else checkpoint.scanned
            if end != checkpoint.position:
                await checkpoint.move(conn, end)
        checkpoint.stand_at(end)
        return len(batch)

    async def _hand_on(self, conn: Connection, batch: EventBatch) -> None:
        if isinstance(self._handle, ExternalHandler):
            await self._handle.send(batch)
        else:
            await self._handle(conn, batch)


async def reached(database: Database, name: str, position: int, *, seconds: float) -> bool:
    """Wait until a follower of any process is at a position; return False if it is not there in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        at = await database.value(QUERIES["position"], {"name": name})
        if at is not None and at >= position:
            return True
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.02)
