"""The keeper: a missed cancellation is repeated, duties wait while their work is paused, late firings are marked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from annals.store.coordination.pauses import Pauses
from annals.workers.clock import unless_held
from annals.workers.keeper import Keeper, Leadership, end
from annals.workers.schedules import LATE, is_late

SLOT = datetime(2026, 1, 1, tzinfo=UTC)


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


class Held(Pauses):
    def __init__(self, hold: str | None) -> None:
        self.hold = hold

    async def find(self, name: str) -> str | None:
        return self.hold if name == "schedules" else None


@pytest.mark.parametrize(("hold", "runs"), [(None, 1), ("restored", 0)])
async def test_paused_duty_waits(hold: str | None, runs: int) -> None:
    done: list[bool] = []

    async def run() -> None:
        done.append(True)

    await unless_held(Held(hold), "schedules", run)()

    assert len(done) == runs


def test_firing_soon_after_its_slot_is_in_time() -> None:
    assert not is_late(SLOT, SLOT + timedelta(seconds=2))
    assert not is_late(SLOT, SLOT + LATE)


def test_delayed_firing_is_late() -> None:
    assert is_late(SLOT, SLOT + LATE + timedelta(seconds=1))
    assert is_late(SLOT, SLOT + timedelta(days=9))
