"""Synchronous calls of functions that may run only so many at once: each takes a place first, or waits for one.

Places are those of the whole instance: what decides is the append that records the call.
"""

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from annals.domain.errors import RateLimited
from annals.store.errors import NoFreeSlot
from annals.store.log.request import ConcurrencySlot
from annals.store.postgres.listener import OnDemand

T = TypeVar("T")

RETRY_SECONDS = 1
LOOK_SECONDS = 1.0
"""How often who waits looks without having been told: a place may come free by an end that tells nobody."""


class Places:
    """One per process; `listening` hears of places that are given back."""

    def __init__(self, listening: OnDemand) -> None:
        self._listening = listening
        self._turns: weakref.WeakValueDictionary[ConcurrencySlot, asyncio.Lock] = weakref.WeakValueDictionary()

    async def take(self, place: ConcurrencySlot, begin: Callable[[], Awaitable[T]], *, seconds: float) -> T:
        """Return the result of `begin`, which raises NoFreeSlot while no slot is free; calls begin in their order.

        Raises RateLimited after so many seconds without a place, with nothing recorded.
        """
        turn = self._turns.setdefault(place, asyncio.Lock())
        if not turn.locked():
            with suppress(NoFreeSlot):
                return await begin()
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                await turn.acquire()
        except TimeoutError:
            raise _none_came(seconds) from None
        try:
            return await self._next(place, begin, deadline)
        except NoFreeSlot:
            raise _none_came(seconds) from None
        finally:
            turn.release()

    async def _next(self, place: ConcurrencySlot, begin: Callable[[], Awaitable[T]], deadline: float) -> T:
        """Begin as soon as there is a place; nothing is given up while it may be recorded. Raises NoFreeSlot."""
        loop = asyncio.get_running_loop()
        async with self._listening.entered() as listener:
            while True:
                known = listener.heard_of(place.name)
                try:
                    return await begin()
                except NoFreeSlot:
                    left = deadline - loop.time()
                    if left <= 0:
                        raise
                await listener.wait_for(place.name, known, min(left, LOOK_SECONDS))


def _none_came(seconds: float) -> RateLimited:
    return RateLimited(
        f"The function runs as many calls at once as its policy allows, and none of them ended for it within"
        f" {seconds:g} seconds. Try again in a moment.",
        retry_after=RETRY_SECONDS,
    )
