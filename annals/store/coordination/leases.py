"""Leases: each process counts its heartbeats in a row of its own, and processes that depend on it watch the count.

Clocks of hosts are never compared: a watcher measures by its own monotonic clock how long a count stayed the same.
"""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import NamedTuple

import psycopg
import structlog

from annals.store.errors import StoreUnavailable
from annals.store.postgres import sql
from annals.store.postgres.database import Database

QUERIES = sql.load(__package__, "leases.sql")

log = structlog.get_logger(__name__)


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


def holder_id(role: str) -> str:
    """Return a name that no process ever had."""
    return f"{role}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class ProcessLease:
    """Sends heartbeats. `id` changes if its row is gone, which means that others decided that this process is lost.

    Claims under the former name were taken back, and their outcomes are rejected. If the row is still there after a
    pause or an outage, nothing changes.
    """

    def __init__(
        self,
        leases: Leases,
        role: str,
        *,
        lease_seconds: float,
        doing: Callable[[], str] = lambda: "",
        builds: BuildSlots = NO_BUILDS,
    ) -> None:
        self._leases, self._role, self._seconds, self._doing = leases, role, lease_seconds, doing
        self._builds = builds
        self.id = holder_id(role)
        self._beats = 0

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold the lease. Other processes take over the work of this one when it ends, or sends no more heartbeats."""
        await self.enter()
        beating = asyncio.create_task(self.run())
        try:
            yield
        finally:
            beating.cancel()
            try:
                with suppress(asyncio.CancelledError):
                    await beating
            finally:
                await self.leave()

    async def enter(self) -> None:
        """Send the first heartbeat; await it before the first claim. Raises StoreUnavailable."""
        await self._beat()

    async def run(self) -> None:
        """Send heartbeats until cancelled, several times per lease."""
        while True:
            await asyncio.sleep(self._seconds / 4)
            try:
                await self._beat()
            except (StoreUnavailable, psycopg.Error) as error:
                log.warning("heartbeat_missed", holder=self.id, error=str(error).strip())

    async def leave(self) -> None:
        """End the lease: its claims are lost at once."""
        await self._leases.leave(self.id)

    async def _beat(self) -> None:
        beats = await self._count()
        if self._beats and beats == 1:
            former, self.id = self.id, holder_id(self._role)
            log.warning("holder_renamed", former=former, holder=self.id)
            await self._leases.leave(former)
            beats = await self._count()
        self._beats = beats

    async def _count(self) -> int:
        return await self._leases.beat(self.id, self._role, doing=self._doing(), builds=self._builds)
