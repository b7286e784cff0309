"""Filling shadow tables from the log, batch by batch, reading the next one while this one is applied."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import NamedTuple

from annals.store.log.reader import EventReader, RecordedEvent
from annals.store.postgres.database import Connection

BATCH = 2000
NEAR = 100
"""Few enough positions to apply while others wait."""

_ROUNDS = 50

Apply = Callable[[Sequence[RecordedEvent]], Awaitable[None]]
"""Takes a batch in, in the order of the log."""

Filling = Callable[[Connection], AbstractAsyncContextManager[Apply]]
"""While it is entered, tables that the connection sees are filled; what was applied is all there when it is left."""


class Progress(NamedTuple):
    """How far a model's rebuild is, in positions (the log may have fewer events), and how many events it took."""

    model: str
    position: int
    newest: int
    events: int


Report = Callable[[Progress], None]


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Look for cyclic garbage once in many batches: events form none, and looking at them costs as much as decoding."""
    former = gc.get_threshold()
    gc.set_threshold(40 * BATCH, *former[1:])
    try:
        yield
    finally:
        gc.set_threshold(*former)


class Refill:
    """One model on its way through the log."""

    def __init__(self, conn: Connection, reader: EventReader, model: str, filling: Filling, report: Report) -> None:
        self._conn, self._reader, self._model, self._filling, self._report = conn, reader, model, filling, report
        self.position = 0
        self.events = 0

    async def newest(self) -> int:
        return await self._reader.position()

    async def near(self, end: Callable[[], Awaitable[int]]) -> None:
        """Go on until the moving end is close; a log that grows as fast as it is applied ends this as well."""
        for _ in range(_ROUNDS):
            target = await end()
            if target - self.position <= NEAR:
                return
            await self.to(target)

    async def to(self, target: int) -> None:
        """Apply everything up to a position."""
        async with self._filling(self._conn) as apply:
            batch = await self._reader.after(self.position, BATCH, until=target)
            while batch:
                following = asyncio.create_task(self._reader.after(batch[-1].position, BATCH, until=target))
                try:
                    await apply(batch)
                finally:
                    following_batch = await following
                self.position = batch[-1].position
                self.events += len(batch)
                self._report(Progress(self._model, self.position, target, self.events))
                batch = following_batch
