"""Fills staging tables from the log, batch by batch; the next batch is read while one is applied."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import NamedTuple

from annals.store.log.reader import EventReader, RecordedEvent
from annals.store.postgres.database import Connection

BATCH = 2000
NEAR = 100
"""A distance, in positions, that is applied so quickly that appends may wait for it."""

_ROUNDS = 50

Apply = Callable[[Sequence[RecordedEvent]], Awaitable[None]]
"""Applies a batch, in the order of the log."""

Filling = Callable[[Connection], AbstractAsyncContextManager[Apply]]
"""A context that yields `Apply` for the tables that the connection sees. On exit all batches are written."""


class Progress(NamedTuple):
    """The position of a model's rebuild (a log has fewer events than positions), and the number of events."""

    model: str
    position: int
    newest: int
    events: int


Report = Callable[[Progress], None]


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Run the cyclic garbage collector rarely: events form no cycles, and a run costs as much as decoding them."""
    former = gc.get_threshold()
    gc.set_threshold(40 * BATCH, *former[1:])
    try:
        yield
    finally:
        gc.set_threshold(*former)


class Refill:
    """The rebuild of one model."""

    def __init__(self, conn: Connection, reader: EventReader, model: str, filling: Filling, report: Report) -> None:
        self._conn = conn
        self._reader = reader
        self._model = model
        self._filling = filling
        self._report = report
        self.position = 0
        self.events = 0

    async def newest(self) -> int:
        """Return the last position of the log."""
        return await self._reader.position()

    async def near(self, end: Callable[[], Awaitable[int]]) -> None:
        """Apply events until the moving `end` is close, or for a number of rounds if the log grows as fast."""
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
