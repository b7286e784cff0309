"""Places that come free: whoever waits for one is woken, as many as there are places, the oldest first."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from annals.store.coordination.pauses import SCHEDULES, Holds
from annals.store.postgres import sql
from annals.store.postgres.database import Database
from annals.store.postgres.listener import ALL, Listener

QUERIES = sql.load(__package__, "freed_slots.sql")

_MOST = 256
"""Wake-ups of a function at one look; one that has no bound any more gets the others from the sweep."""

_WAIT_SECONDS = 30.0

Wake = Callable[[Sequence[str]], Awaitable[object]]
"""Wakes executions by their streams. Raises QueueUnavailable, StoreUnavailable."""


class FreedSlots:
    """One for a term of a keeper: its first look is at every function with a bound. `listener` hears of places."""

    def __init__(self, database: Database, listener: Listener, wake: Wake) -> None:
        self._database, self._listener, self._wake = database, listener, wake
        self._holds = Holds(database)
        self._told = {ALL}

    async def run(self) -> None:
        """Look whenever places came free. A look is followed by a rest of its own length: what comes then shares one.

        Raises QueueUnavailable, StoreUnavailable; the next run looks again.
        """
        loop = asyncio.get_running_loop()
        while True:
            known, began = self._listener.count, loop.time()
            self._told |= self._listener.fresh()
            if not self._told:
                await self._listener.wait(known, _WAIT_SECONDS)
                continue
            await self._look(self._told)
            self._told = set()
            await asyncio.sleep(loop.time() - began)

    async def _look(self, told: set[str]) -> None:
        """What is held back is woken by the sweep, once it is not."""
        streams = await self._next(told)
        if streams and await self._holds.find(SCHEDULES) is None:
            await self._wake(streams)

    async def _next(self, told: set[str]) -> list[str]:
        names = [] if ALL in told else [name.split(":", 1) for name in sorted(told)]
        params = {
            "projects": [project_id for project_id, _ in names],
            "functions": [function_id for _, function_id in names],
            "all": ALL in told,
            "most": _MOST,
        }
        return [row["stream_id"] for row in await self._database.rows(QUERIES["next"], params)]
