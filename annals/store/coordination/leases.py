"""Leases: each process counts its heartbeats in a row of its own, and whoever depends on it watches the count.

Clocks of hosts are never compared: the watcher measures by its own monotonic clock how long a count stood still.
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
    """A process as it last said: what it is, and what it does now. Leases are held in its name."""

    holder: str
    role: str
    host: str
    pid: int
    beats: int
    doing: str
    started_at: datetime


class BuildSlots(NamedTuple):
    """How many builds a process holds at once, and how many beyond those of projects that have none running."""

    slots: int = 0
    reserve: int = 0


NO_BUILDS = BuildSlots()


class Leases:
    """The table of heartbeats."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def beat(self, holder: str, role: str, *, doing: str = "", builds: BuildSlots = NO_BUILDS) -> int:
        """Say that a process lives, and what it does; the first call enters it. Returns the count."""
        params = {"holder": holder, "role": role, "host": socket.gethostname(), "pid": os.getpid(), "doing": doing}
        capacity = {"build_slots": builds.slots, "build_reserve": builds.reserve}
        return int(await self._database.value(QUERIES["beat"], {**params, **capacity}))

    async def leave(self, holder: str) -> None:
        """A process that ends in order takes its row along: its leases are lost at once."""
        await self._database.execute(QUERIES["leave"], {"holder": holder})

    async def holders(self) -> list[Holder]:
        """All processes that said they live and did not leave, dead ones included until they are forgotten."""
        return [Holder(**row) for row in await self._database.rows(QUERIES["holders"])]

    async def forget(self, seen: Mapping[str, int]) -> None:
        """Remove rows of processes that are lost, unless one has beaten since its count was seen: then it lives."""
        params = {"holders": list(seen), "beats": list(seen.values())}
        await self._database.execute(QUERIES["forget"], params)


class Watch:
    """Judges who is lost: no change of the count, or no row at all, for `seconds` of this process's own clock.

    A watcher that just began, or was itself paused, waits the whole time anew: it never judges by what it did not see.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._seen: dict[str, tuple[int | None, float]] = {}
        self._looked = clock()

    def lost(self, beats: Mapping[str, int], wanted: Iterable[str]) -> set[str]:
        """Which of the `wanted` holders are lost, given the counts just read. Call it several times per `seconds`."""
        now = self._clock()
        if now - self._looked > self._seconds / 2:  # we did not look for long: what stood still then proves nothing
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
