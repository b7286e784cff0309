"""Work that misses its cancellation, as when a connection breaks at that moment, is cancelled again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from annals.workers.keeper import Keeper, Leadership, end


async def deaf() -> None:
    """Ends at the second cancellation."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(600)
    await asyncio.sleep(600)


class Turns:
    """A leadership whose first term ends at once, and whose second does not end."""

    def __init__(self) -> None:
        self.terms = 0
        self.second = asyncio.Event()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        self.terms += 1
        yield

    async def beat(self, _: Any) -> None:
        await asyncio.sleep(0)
        if self.terms > 1:
            self.second.set()
            await asyncio.sleep(600)


async def test_task_that_misses_its_cancellation_is_cancelled_again() -> None:
    tasks = [asyncio.create_task(deaf()) for _ in range(3)]
    await asyncio.sleep(0)

    async with asyncio.timeout(60):
        await end(*tasks)

    assert all(task.cancelled() for task in tasks)


async def test_keeper_leads_again_after_a_term_that_left_gaps() -> None:
    turns = Turns()
    serving = asyncio.create_task(Keeper(cast("Leadership", turns), lambda: [deaf]).serve())

    async with asyncio.timeout(60):
        await turns.second.wait()
        await end(serving)

    assert serving.cancelled()
