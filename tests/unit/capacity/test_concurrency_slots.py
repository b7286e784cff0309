"""Synchronous calls of a function with a bound: they wait for a slot in order, for a limited time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from annals.capacity.slots import ConcurrencySlots
from annals.domain.errors import RateLimited
from annals.store.errors import NoFreeSlot, StoreUnavailable
from annals.store.log.request import ConcurrencySlot
from annals.store.postgres.listener import Listener

SLOT = ConcurrencySlot("p", "f")
OTHER_SLOT = ConcurrencySlot("p", "g")
LONG = 60.0


class Notification(Listener):
    """A listener that the test notifies."""

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.inside = 0

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[Listener]:
        self.inside += 1
        try:
            yield self
        finally:
            self.inside -= 1


class Functions:
    """Functions with their free slots; `begun` names the calls in the order in which they began."""

    def __init__(self, notification: Notification, **free: int) -> None:
        self.notification, self.free = notification, free
        self.begun: list[str] = []
        self.refused = 0

    def begin(self, slot: ConcurrencySlot, name: str) -> Callable[[], Awaitable[str]]:
        async def begin() -> str:
            await asyncio.sleep(0)
            if not self.free[slot.function_id]:
                self.refused += 1
                raise NoFreeSlot
            self.free[slot.function_id] -= 1
            self.begun.append(name)
            return name

        return begin

    def give_back(self, slot: ConcurrencySlot, count: int = 1) -> None:
        self.free[slot.function_id] += count
        self.notification._count(slot.name)


def opened(notification: Notification) -> ConcurrencySlots:
    listening: Any = notification
    return ConcurrencySlots(listening)


async def attempts_refused(functions: Functions, count: int) -> None:
    async with asyncio.timeout(LONG):
        while functions.refused < count:
            await asyncio.sleep(0.001)


async def test_call_with_a_free_slot_begins_without_listening() -> None:
    notification = Notification()
    functions, concurrency_slots = Functions(notification, f=3), opened(notification)

    took = [await concurrency_slots.take(SLOT, functions.begin(SLOT, name), seconds=LONG) for name in "abc"]

    assert took == ["a", "b", "c"]
    assert (functions.refused, notification.count) == (0, 0)


async def test_waiting_calls_begin_in_order_as_slots_are_freed() -> None:
    notification = Notification()
    functions, concurrency_slots = Functions(notification, f=0, g=1), opened(notification)
    waiting = []
    for name in "abc":
        waiting.append(asyncio.create_task(concurrency_slots.take(SLOT, functions.begin(SLOT, name), seconds=LONG)))
        await attempts_refused(functions, 2)
    assert await concurrency_slots.take(OTHER_SLOT, functions.begin(OTHER_SLOT, "other"), seconds=LONG) == "other"

    functions.give_back(SLOT, 2)
    assert await asyncio.gather(*waiting[:2]) == ["a", "b"]
    functions.give_back(SLOT)
    assert await waiting[2] == "c"

    assert functions.begun == ["other", "a", "b", "c"]
    assert notification.inside == 0


async def test_call_that_waits_too_long_is_rate_limited_and_the_next_goes_on_waiting() -> None:
    notification = Notification()
    functions, concurrency_slots = Functions(notification, f=0), opened(notification)
    first = asyncio.create_task(concurrency_slots.take(SLOT, functions.begin(SLOT, "a"), seconds=0.05))
    await attempts_refused(functions, 2)
    second = asyncio.create_task(concurrency_slots.take(SLOT, functions.begin(SLOT, "b"), seconds=LONG))
    third = asyncio.create_task(concurrency_slots.take(SLOT, functions.begin(SLOT, "c"), seconds=0.05))

    for task in (first, third):
        with pytest.raises(RateLimited, match="none of them ended") as error:
            await task
        assert error.value.retry_after == 1

    functions.give_back(SLOT)
    assert await second == "b"


async def test_error_of_the_first_waiting_call_does_not_block_the_next() -> None:
    notification = Notification()
    functions, concurrency_slots = Functions(notification, f=0), opened(notification)
    attempts = 0

    async def broken() -> str:
        nonlocal attempts
        attempts += 1
        raise NoFreeSlot if attempts < 3 else StoreUnavailable

    first = asyncio.create_task(concurrency_slots.take(SLOT, broken, seconds=LONG))
    async with asyncio.timeout(LONG):
        while attempts < 2:
            await asyncio.sleep(0.001)
    second = asyncio.create_task(concurrency_slots.take(SLOT, functions.begin(SLOT, "b"), seconds=LONG))

    notification._count(SLOT.name)
    with pytest.raises(StoreUnavailable):
        await first
    functions.give_back(SLOT)

    assert await second == "b"
