"""Leases: each process counts its heartbeats in a row of its own, and processes that depend on it watch the count.

Clocks of hosts are never compared: a watcher measures by its own monotonic clock how long a count stayed the same.
"""

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from annals.store.postgres import sql
from annals.store.postgres.database import Database

QUERIES = sql.load(__package__, "leases.sql")


class Holder(NamedTuple):
    """A process as its last heartbeat describes it. Leases carry its name."""

    holder: str
    role: str
    host: str
    pid: int
    beats: int
    doing: str
    started_at: datetime


class BuildSlots(NamedTuple):
    """How many builds a process runs at once, and how many more of projects without a running build."""

    slots: int = 0
    reserve: int = 0


NO_BUILDS = BuildSlots()


class Leases:
    """The table of heartbeats."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def beat(self, holder: str, role: str, *, doing: str = "", builds: BuildSlots = NO_BUILDS) -> int:
        """Count a heartbeat, and return the count; the first call inserts the row."""
        params = {"holder": holder, "role": role, "host": socket.gethostname(), "pid": os.getpid(), "doing": doing}
        capacity = {"build_slots": builds.slots, "build_reserve": builds.reserve}
        return int(await self._database.value(QUERIES["beat"], {**params, **capacity}))

    async def leave(self, holder: str) -> None:
        """Remove the row of a process that stops in order: its leases are lost at once."""
        await self._database.execute(QUERIES["leave"], {"holder": holder})

    async def holders(self) -> list[Holder]:
        """Return all processes with a row: dead processes stay until they are forgotten."""
        return [Holder(**row) for row in await self._database.rows(QUERIES["holders"])]

    async def forget(self, seen: Mapping[str, int]) -> None:
        """Remove rows of lost processes, except those whose count is no longer the one that was `seen`."""
        params = {"holders": list(seen), "beats": list(seen.values())}
        await self._database.execute(QUERIES["forget"], params)


class Watch:
    """Decides which processes are lost: their count did not change, or they had no row, for `seconds`.

    Seconds are of this process's own clock. A watcher that just started, or was itself paused, waits the whole time
    again, since it did not see the counts meanwhile.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._seen: dict[str, tuple[int | None, float]] = {}
        self._looked = clock()

    def lost(self, beats: Mapping[str, int], wanted: Iterable[str]) -> set[str]:
        """Return which of the `wanted` holders are lost, given current counts. Call it several times per `seconds`."""
        now = self._clock()
        if now - self._looked > self._seconds / 2:  # it did not look for long: unchanged counts prove nothing
            self._seen.clear()
        self._looked = now
        names = {*wanted}
        self._seen = {name: self._seen.get(name, (None, now)) for name in names | beats.keys()}
        lost = set()
        for name in names | beats.keys():
            count, since = self._seen[name]
            if beats.get(name) != count:
                self._seen[name] = (beats.get(name), now)
            elif now - since >= self._seconds and name in names:
                lost.add(name)
        return lost
