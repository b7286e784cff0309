"""Limits how fast the builds of one project write to the host's disk, which commits of the event log use as well.

Linux delays buffered writes only after they have filled a good part of the host's memory, and control groups of
version 1 do not limit them. So a sandbox that writes faster than its limit is paused until it may write again.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from annals.executor.drivers.port import Sandbox
from annals.executor.logs.throttle import Rates, Throttle

log = structlog.get_logger()

LOOK_SECONDS = 0.05
REST = 4
"""The pause between measurements, as a multiple of the time that the last one took."""

BURST_SECONDS = 16.0
"""After a quiet time, a project may write the amount of so many seconds at once."""


class WriteThrottles:
    """One throttle for each project with running builds: `rate` bytes a second, 0 for no limit."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._throttles: dict[str, Throttle] = {}
        self._builds: Counter[str] = Counter()

    @contextmanager
    def of(self, project: str) -> Iterator[Throttle | None]:
        """Yield the throttle that a project's builds share, or None if writes are not limited."""
        if not self._rate:
            yield None
            return
        self._forget_rested()
        throttle = self._throttles.setdefault(project, writes(self._rate))
        self._builds[project] += 1
        try:
            yield throttle
        finally:
            self._builds[project] -= 1

    def __len__(self) -> int:
        return len(self._throttles)

    def _forget_rested(self) -> None:
        """Drop throttles that have a whole burst available: they are equal to new ones."""
        for project, throttle in tuple(self._throttles.items()):
            if not self._builds[project] and throttle.rested:
                del self._throttles[project], self._builds[project]


def writes(rate: int) -> Throttle:
    """Return a throttle for written bytes."""
    unbounded = float("inf")
    return Throttle(Rates(size=rate, items=unbounded, reads=unbounded, cpu=unbounded), BURST_SECONDS)


async def throttle_writes(sandbox: Sandbox, throttle: Throttle) -> None:
    """Pause a sandbox whenever it has written more than the throttle allows. Runs until it is cancelled."""
    before: int | None = None
    while True:
        began = time.monotonic()
        took = 0.0
        try:
            now = await asyncio.to_thread(sandbox.written)
            wait = throttle.spend(size=0 if before is None else max(0, now - before))
            before, took = now, time.monotonic() - began
            if wait:
                await _pause(sandbox, wait)
        except Exception:
            log.exception("write_throttle.failed")
        await asyncio.sleep(max(LOOK_SECONDS, REST * took))


async def _pause(sandbox: Sandbox, seconds: float) -> None:
    try:
        await sandbox.pause()
        await asyncio.sleep(seconds)
    finally:
        await sandbox.resume()
