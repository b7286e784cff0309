"""Functions that may run only so many calls at once, as a worker knows them: whose claims ask for a place.

Read at most once a second, so that a claim costs nothing more while no function has a bound. How many places there are,
and who holds them, is asked where the claim is recorded.
"""

import asyncio
import math

from annals.store.log.request import ConcurrencySlot
from annals.store.postgres import sql
from annals.store.postgres.database import Database

QUERIES = sql.load(__package__, "worker_slots.sql")

_FRESH_SECONDS = 1.0


class Bounds:
    """One per worker process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bounded: frozenset[ConcurrencySlot] = frozenset()
        self._asked_at = -math.inf
        self._reading = asyncio.Lock()

    async def place(self, project_id: str, function_id: str) -> ConcurrencySlot | None:
        """What a call of the function has to take before it runs; None where it has no bound."""
        entered = self._now()
        if self._asked_at < entered - _FRESH_SECONDS:
            async with self._reading:
                if self._asked_at < entered:
                    asked = self._now()
                    rows = await self._database.rows(QUERIES["bounded"])
                    self._bounded = frozenset(ConcurrencySlot(row["project_id"], row["function_id"]) for row in rows)
                    self._asked_at = asked
        place = ConcurrencySlot(project_id, function_id)
        return place if place in self._bounded else None

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
