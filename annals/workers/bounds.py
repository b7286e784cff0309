"""Functions that may run only so many calls at once: what is beyond stays `waiting`, and is woken when there is room.

Bounds are read at most once a second, and cost nothing while no function has one.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

from annals.store import sql
from annals.store.database import Database

QUERIES = sql.load(__package__, "bounds.sql")

_FRESH_SECONDS = 1.0

Function = tuple[str, str]
"""Project and id."""


class Bounds:
    """One per worker process, for the executions that it runs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[Function, int] = {}
        self._stale_at = 0.0
        self._reading = asyncio.Lock()
        self._running: Counter[Function] = Counter()
        self._left: set[Function] = set()

    async def enter(self, function: Function) -> bool:
        """Take a place; false when the function runs as many as it may. Give it back with `leave`."""
        await self._refresh()
        most = self._known.get(function)
        if most is not None and self._running[function] >= most:
            self._left.add(function)
            return False
        self._running[function] += 1
        return True

    async def leave(self, function: Function) -> Sequence[str]:
        """Give a place back. Returns the streams of executions that were left waiting and may run now."""
        self._running[function] -= 1
        if not self._running[function]:
            del self._running[function]
        if function not in self._left:
            return ()
        most = self._known.get(function)
        room = 64 if most is None else most - self._running[function]
        if room <= 0:
            return ()
        params = {"project": function[0], "function": function[1], "limit": room + 1}
        found = [row["stream_id"] for row in await self._database.rows(QUERIES["next"], params)]
        if len(found) <= room:
            self._left.discard(function)
        return found[:room]

    async def _refresh(self) -> None:
        if self._now() < self._stale_at:
            return
        async with self._reading:
            if self._now() >= self._stale_at:
                rows = await self._database.rows(QUERIES["bounds"])
                self._known = {(row["project_id"], row["function_id"]): row["concurrency"] for row in rows}
                self._stale_at = self._now() + _FRESH_SECONDS

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
