"""Limits how often instances that ended by themselves are replaced.

A crash, or an end at the memory limit, costs the host more than a call: memory is filled and freed, and a process
starts again. Functions that crash at each call would take processor time from others.
"""

import time
from collections.abc import Callable

from annals.executor.logs.throttle import Rates, Throttle
from annals.executor.pool.group import Key

RATE = 1.0
BURST_SECONDS = 10.0
_UNBOUNDED = float("inf")
_RATES = Rates(size=_UNBOUNDED, items=RATE, reads=_UNBOUNDED, cpu=_UNBOUNDED)


class Restarts:
    """Delays the replacement of a project's instances that end by themselves too often."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._projects: dict[str, Throttle] = {}
        self._until: dict[Key, float] = {}

    def __len__(self) -> int:
        return len(self._projects) + len(self._until)

    def count(self, key: Key) -> float:
        """Count an instance that ended by itself; return the seconds until it may be replaced."""
        self._forget()
        throttle = self._projects.setdefault(key[0], Throttle(_RATES, BURST_SECONDS, self._clock))
        if wait := throttle.spend(items=1):
            self._until[key] = self._clock() + wait
        return wait

    def wait(self, key: Key) -> float:
        """Return the seconds until the next instance may start, usually 0."""
        return max(0.0, self._until.get(key, 0.0) - self._clock())

    def _forget(self) -> None:
        """Drop entries that delay nothing."""
        now = self._clock()
        self._until = {key: until for key, until in self._until.items() if until > now}
        self._projects = {project: throttle for project, throttle in self._projects.items() if not throttle.rested}
