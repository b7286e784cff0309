"""How fast the builds of one project write to the host's disk, which commits of the event log share with them.

Linux does not hold buffered writes back before they have filled a good part of the host's memory, and control groups of
version 1 do not bound them at all. So a sandbox that has written more than it may is paused until it may write again.
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
"""How many times as long as a look took the next one is put off."""

BURST_SECONDS = 16.0
"""A project that was quiet may write so many seconds' worth at once."""


class Paces:
    """One throttle for each project with running builds, `rate` bytes a second; 0 for no bound."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._throttles: dict[str, Throttle] = {}
        self._builds: Counter[str] = Counter()

    @contextmanager
    def of(self, project: str) -> Iterator[Throttle | None]:
        """The throttle that a project's builds share, None where writes are not bounded."""
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
        """A throttle that may be used in full again is as good as a new one."""
        for project, throttle in tuple(self._throttles.items()):
            if not self._builds[project] and throttle.rested:
                del self._throttles[project], self._builds[project]


def writes(rate: int) -> Throttle:
    """A throttle for bytes that are written."""
    unbounded = float("inf")
    return Throttle(Rates(size=rate, items=unbounded, reads=unbounded, cpu=unbounded), BURST_SECONDS)


async def keep_pace(sandbox: Sandbox, throttle: Throttle) -> None:
    """Pause a sandbox each time that it has written more than it may. Ends by being cancelled."""
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
            log.exception("pace.not_kept")
        await asyncio.sleep(max(LOOK_SECONDS, REST * took))


async def _pause(sandbox: Sandbox, seconds: float) -> None:
    try:
        await sandbox.pause()
        await asyncio.sleep(seconds)
    finally:
        await sandbox.resume()
