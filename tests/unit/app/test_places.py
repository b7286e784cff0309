"""Synchronous calls of a function with a bound: who finds no place waits for one, in turn, and not for ever."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from annals.app.edge.errors import RateLimited
from annals.capacity.concurrency_slots import Places
from annals.store.errors import NoPlace, StoreUnavailable
from annals.store.log.request import Place
from annals.store.postgres.listener import Listener

PLACE = Place("p", "f")
OTHER = Place("p", "g")
LONG = 60.0


class Bell(Listener):
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


class Doors:
    """Places of functions, and who went in, in order."""

    def __init__(self, bell: Bell, **free: int) -> None:
        self.bell, self.free = bell, free
        self.went_in: list[str] = []
        self.refused = 0

    def begin(self, place: Place, name: str) -> Callable[[], Awaitable[str]]:
        async def begin() -> str:
            await asyncio.sleep(0)
            if not self.free[place.function_id]:
                self.refused += 1
                raise NoPlace
            self.free[place.function_id] -= 1
            self.went_in.append(name)
            return name

        return begin

    def give_back(self, place: Place, count: int = 1) -> None:
        self.free[place.function_id] += count
        self.bell._ring(place.name)


def opened(bell: Bell) -> Places:
    listening: Any = bell
    return Places(listening)


async def refused(doors: Doors, count: int) -> None:
    async with asyncio.timeout(LONG):
        while doors.refused < count:
            await asyncio.sleep(0.001)


async def test_where_there_is_room_nobody_waits_and_nothing_listens() -> None:
    bell = Bell()
    doors, places = Doors(bell, f=3), opened(bell)

    took = [await places.take(PLACE, doors.begin(PLACE, name), seconds=LONG) for name in "abc"]

    assert took == ["a", "b", "c"]
    assert (doors.refused, bell.count) == (0, 0)


async def test_those_that_wait_go_in_as_they_came_as_soon_as_a_place_is_given_back() -> None:
    bell = Bell()
    doors, places = Doors(bell, f=0, g=1), opened(bell)
    waiting = []
    for name in "abc":
        waiting.append(asyncio.create_task(places.take(PLACE, doors.begin(PLACE, name), seconds=LONG)))
        await refused(doors, 2)
    assert await places.take(OTHER, doors.begin(OTHER, "other"), seconds=LONG) == "other"

    doors.give_back(PLACE, 2)
    assert await asyncio.gather(*waiting[:2]) == ["a", "b"]
    doors.give_back(PLACE)
    assert await waiting[2] == "c"

    assert doors.went_in == ["other", "a", "b", "c"]
    assert bell.inside == 0


async def test_who_waits_too_long_is_told_when_to_come_back_and_the_next_one_goes_on_waiting() -> None:
    bell = Bell()
    doors, places = Doors(bell, f=0), opened(bell)
    first = asyncio.create_task(places.take(PLACE, doors.begin(PLACE, "a"), seconds=0.05))
    await refused(doors, 2)
    second = asyncio.create_task(places.take(PLACE, doors.begin(PLACE, "b"), seconds=LONG))
    third = asyncio.create_task(places.take(PLACE, doors.begin(PLACE, "c"), seconds=0.05))

    for task in (first, third):
        with pytest.raises(RateLimited, match="none of them ended") as told:
            await task
        assert told.value.retry_after == 1

    doors.give_back(PLACE)
    assert await second == "b"


async def test_what_goes_wrong_with_the_first_that_waits_holds_up_no_other() -> None:
    bell = Bell()
    doors, places = Doors(bell, f=0), opened(bell)
    tried = 0

    async def broken() -> str:
        nonlocal tried
        tried += 1
        raise NoPlace if tried < 3 else StoreUnavailable

    first = asyncio.create_task(places.take(PLACE, broken, seconds=LONG))
    async with asyncio.timeout(LONG):
        while tried < 2:
            await asyncio.sleep(0.001)
    second = asyncio.create_task(places.take(PLACE, doors.begin(PLACE, "b"), seconds=LONG))

    bell._ring(PLACE.name)
    with pytest.raises(StoreUnavailable):
        await first
    doors.give_back(PLACE)

    assert await second == "b"
