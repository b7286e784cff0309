"""Followers: handle the log in order, at least once, in batches; effects and checkpoint commit together.

A follower reads its batches from the process's tail cache or from the log's table (reader.py), keeps its position in a
row (follower_checkpoint.py), and handles a batch that fails again, event by event, to find the event that fails.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import psycopg
import structlog

from annals.store.errors import StoreUnavailable
from annals.store.log.follower_checkpoint import FollowerCheckpoint
from annals.store.log.reader import EventBatch, EventReader, RecordedEvent
from annals.store.log.tail_cache import TailCache
from annals.store.postgres.database import Connection
from annals.store.postgres.listener import Listener

Handle = Callable[[Connection, Sequence[RecordedEvent]], Awaitable[None]]
"""Handles a batch in order, in the transaction that also moves the checkpoint. It may get a batch twice."""

HandleBatch = Callable[[Connection, EventBatch], Awaitable[None]]
"""The same for handlers that also read the stored rows: every Handle is one."""

Send = Callable[[Sequence[RecordedEvent]], Awaitable[None]]
"""Handles a batch with effects outside the database."""

log = structlog.get_logger(__name__)


class PoisonedBy(Exception):
    """The handler fails at an event: the follower stays before it, other followers go on.

    Keepers of other versions read this sentence: the query `unread` of workers/leadership.sql.
    """

    def __init__(self, name: str, position: int, cause: Exception) -> None:
        super().__init__(f"{name} stands still before position {position}: {type(cause).__name__}: {cause}")
        self.position = position


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
