"""Synchronous calls of a function with a bound: who finds no place waits for one, in turn, and not for ever."""

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
OTHER = ConcurrencySlot("p", "g")
LONG = 60.0


class Notification(Listener):
    """One that is rung by the test."""

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


class DispatchSockets:
    """Places of functions, and who went in, in order."""

    def __init__(self, notification: Notification, **free: int) -> None:
        self.notification, self.free = notification, free
        self.went_in: list[str] = []
        self.refused = 0

    def begin(self, place: ConcurrencySlot, name: str) -> Callable[[], Awaitable[str]]:
        async def begin() -> str:
            await asyncio.sleep(0)
            if not self.free[place.function_id]:
                self.refused += 1
                raise NoFreeSlot
            self.free[place.function_id] -= 1
            self.went_in.append(name)
            return name

        return begin

    def give_back(self, place: ConcurrencySlot, count: int = 1) -> None:
        self.free[place.function_id] += count
        self.notification._count(place.name)


def opened(notification: Notification) -> ConcurrencySlots:
    listening: Any = notification
    return ConcurrencySlots(listening)


async def refused(dispatch_sockets: DispatchSockets, count: int) -> None:
    async with asyncio.timeout(LONG):
        while dispatch_sockets.refused < count:
            await asyncio.sleep(0.001)


async def test_where_there_is_room_nobody_waits_and_nothing_listens() -> None:
    notification = Notification()
    dispatch_sockets, concurrency_slots = DispatchSockets(notification, f=3), opened(notification)

    took = [await concurrency_slots.take(SLOT, dispatch_sockets.begin(SLOT, name), seconds=LONG) for name in "abc"]

    assert took == ["a", "b", "c"]
    assert (dispatch_sockets.refused, notification.count) == (0, 0)


async def test_those_that_wait_go_in_as_they_came_as_soon_as_a_place_is_given_back() -> None:
    notification = Notification()
    dispatch_sockets, concurrency_slots = DispatchSockets(notification, f=0, g=1), opened(notification)
    waiting = []
    for name in "abc":
        waiting.append(
            asyncio.create_task(concurrency_slots.take(SLOT, dispatch_sockets.begin(SLOT, name), seconds=LONG))
        )
        await refused(dispatch_sockets, 2)
    assert await concurrency_slots.take(OTHER, dispatch_sockets.begin(OTHER, "other"), seconds=LONG) == "other"

    dispatch_sockets.give_back(SLOT, 2)
    assert await asyncio.gather(*waiting[:2]) == ["a", "b"]
    dispatch_sockets.give_back(SLOT)
    assert await waiting[2] == "c"

    assert dispatch_sockets.went_in == ["other", "a", "b", "c"]
    assert notification.inside == 0


async def test_who_waits_too_long_is_told_when_to_come_back_and_the_next_one_goes_on_waiting() -> None:
    notification = Notification()
    dispatch_sockets, concurrency_slots = DispatchSockets(notification, f=0), opened(notification)
    first = asyncio.create_task(concurrency_slots.take(SLOT, dispatch_sockets.begin(SLOT, "a"), seconds=0.05))
    await refused(dispatch_sockets, 2)
    second = asyncio.create_task(concurrency_slots.take(SLOT, dispatch_sockets.begin(SLOT, "b"), seconds=LONG))
    third = asyncio.create_task(concurrency_slots.take(SLOT, dispatch_sockets.begin(SLOT, "c"), seconds=0.05))

    for task in (first, third):
        with pytest.raises(RateLimited, match="none of them ended") as told:
            await task
        assert told.value.retry_after == 1

    dispatch_sockets.give_back(SLOT)
    assert await second == "b"


async def test_what_goes_wrong_with_the_first_that_waits_holds_up_no_other() -> None:
    notification = Notification()
    dispatch_sockets, concurrency_slots = DispatchSockets(notification, f=0), opened(notification)
    tried = 0

    async def broken() -> str:
        nonlocal tried
        tried += 1
        raise NoFreeSlot if tried < 3 else StoreUnavailable

    first = asyncio.create_task(concurrency_slots.take(SLOT, broken, seconds=LONG))
    async with asyncio.timeout(LONG):
        while tried < 2:
            await asyncio.sleep(0.001)
    second = asyncio.create_task(concurrency_slots.take(SLOT, dispatch_sockets.begin(SLOT, "b"), seconds=LONG))

    notification._count(SLOT.name)
    with pytest.raises(StoreUnavailable):
        await first
    dispatch_sockets.give_back(SLOT)

    assert await second == "b"
