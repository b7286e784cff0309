"""Concurrency slots: a function whose policy bounds its concurrency runs each call in a slot.

The append that records that a call runs counts slots over the whole instance: docs/adr/0025-concurrency-slots.md. This
module holds what happens around that append. API processes wait for a slot, workers know which functions have a bound,
and the keeper wakes waiting executions when slots are free again.
"""

import asyncio
import math
import weakref
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from annals.domain.errors import RateLimited
from annals.store.coordination.pauses import SCHEDULES, Pauses
from annals.store.errors import NoFreeSlot
from annals.store.log.request import ConcurrencySlot
from annals.store.postgres import sql
from annals.store.postgres.database import Database
from annals.store.postgres.listener import ALL, Listener, OnDemand

QUERIES = sql.load(__package__, "slots.sql")

RETRY_SECONDS = 1

LOOK_SECONDS = 1.0
"""How often a waiting call tries without a notification: some ends of calls send none."""

_FRESH_SECONDS = 1.0
_WAIT_SECONDS = 30.0
_MOST = 256
"""Executions of a function that one look wakes. The sweep wakes the others of a function that lost its bound."""

T = TypeVar("T")

Wake = Callable[[Sequence[str]], Awaitable[object]]
"""Wakes executions by their streams. Raises QueueUnavailable, StoreUnavailable."""


class ConcurrencySlots:
    """Synchronous calls that wait for a slot. One per API process; `listening` receives notifications of free slots."""

    def __init__(self, listening: OnDemand) -> None:
        self._listening = listening
        self._queues: weakref.WeakValueDictionary[ConcurrencySlot, asyncio.Lock] = weakref.WeakValueDictionary()

    async def take(self, slot: ConcurrencySlot, begin: Callable[[], Awaitable[T]], *, seconds: float) -> T:
        """Return what `begin` returns, tried again while it raises NoFreeSlot.

        Calls of one function begin in the order of their arrival. Raises RateLimited after `seconds` without a slot;
        then nothing is recorded.
        """
        queue = self._queues.setdefault(slot, asyncio.Lock())
        if not queue.locked():
            with suppress(NoFreeSlot):
                return await begin()
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                await queue.acquire()
        except TimeoutError:
            raise _no_slot_within(seconds) from None
        try:
            return await self._begin_when_free(slot, begin, deadline)
        except NoFreeSlot:
            raise _no_slot_within(seconds) from None
        finally:
            queue.release()

    async def _begin_when_free(self, slot: ConcurrencySlot, begin: Callable[[], Awaitable[T]], deadline: float) -> T:
        """Begin as soon as a slot is free. An attempt is never cut off, since it may be recorded. Raises NoFreeSlot."""
        loop = asyncio.get_running_loop()
        async with self._listening.entered() as listener:
            while True:
                known = listener.heard_of(slot.name)
                try:
                    return await begin()
                except NoFreeSlot:
                    left = deadline - loop.time()
                    if left <= 0:
                        raise
                await listener.wait_for(slot.name, known, min(left, LOOK_SECONDS))


class BoundedFunctions:
    """The functions with a bound, as a worker knows them. One per worker process.

    They are read at most once a second, so claims of functions without a bound cost nothing more. The append that
    records a claim decides whether a slot is free.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._slots: frozenset[ConcurrencySlot] = frozenset()
        self._read_at = -math.inf
        self._reading = asyncio.Lock()

    async def slot(self, project_id: str, function_id: str) -> ConcurrencySlot | None:
        """Return the slot that a call of the function needs, None without a bound."""
        loop = asyncio.get_running_loop()
        entered = loop.time()
        if self._read_at < entered - _FRESH_SECONDS:
            async with self._reading:
                if self._read_at < entered:
                    began = loop.time()
                    rows = await self._database.rows(QUERIES["bounded_functions"])
                    self._slots = frozenset(ConcurrencySlot(row["project_id"], row["function_id"]) for row in rows)
                    self._read_at = began
        slot = ConcurrencySlot(project_id, function_id)
        return slot if slot in self._slots else None


class FreedSlots:
    """Wakes as many waiting executions of a function as it has free slots, the oldest first.

    One for each term of a keeper; its first look is at every function with a bound. `listener` receives notifications
    of free slots.
    """

    def __init__(self, database: Database, listener: Listener, wake: Wake) -> None:
        self._database = database
        self._listener = listener
        self._wake = wake
        self._pauses = Pauses(database)
        self._notified = {ALL}

    async def run(self) -> None:
        """Look after each notification. Each look is followed by a rest of its own length, to share the next look.

        Raises QueueUnavailable, StoreUnavailable; the next run looks again.
        """
        loop = asyncio.get_running_loop()
        while True:
            known, began = self._listener.count, loop.time()
            self._notified |= self._listener.fresh()
            if not self._notified:
                await self._listener.wait(known, _WAIT_SECONDS)
                continue
            await self._look(self._notified)
            self._notified = set()
            await asyncio.sleep(loop.time() - began)

    async def _look(self, notified: set[str]) -> None:
        """Wake executions, unless schedules are paused; the sweep wakes them after the pause."""
        streams = await self._startable(notified)
        if streams and await self._pauses.find(SCHEDULES) is None:
            await self._wake(streams)

    async def _startable(self, notified: set[str]) -> list[str]:
        names = [] if ALL in notified else [name.split(":", 1) for name in sorted(notified)]
        params = {
            "projects": [project_id for project_id, _ in names],
            "functions": [function_id for _, function_id in names],
            "all": ALL in notified,
            "most": _MOST,
        }
        return [row["stream_id"] for row in await self._database.rows(QUERIES["startable"], params)]


def _no_slot_within(seconds: float) -> RateLimited:
    return RateLimited(
        f"The function runs as many calls at once as its policy allows, and none of them ended for it within"
        f" {seconds:g} seconds. Try again in a moment.",
        retry_after=RETRY_SECONDS,
    )
