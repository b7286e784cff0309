"""Limits what restarts of instances that ended by themselves cost the host.

A crash, or an end at the memory limit, costs more than a call: memory is filled and freed, and a process
starts again. Functions that crash at each call would take processor time from others.
"""

import time
from collections.abc import Callable

from annals.executor.logs.throttle import Rates, Throttle
from annals.executor.pool.group import Key

CPU_RATE = 0.2
"""Seconds of processor time that the restarts of a project may use each second."""

BURST_SECONDS = 10.0
START_CPU = 0.2
"""Seconds of processor time that the end of an instance and a new function server cost."""

MEMORY_CPU = 0.8
"""Seconds of processor time that filling and freeing one gigabyte costs."""

MOST_COUNTED_MB = 1024
"""More memory costs no more: the host or a parent group may have killed an instance long before its limit."""

SUSPECT_SECONDS = 60.0
"""How long a function is suspected of filling its memory again, unless it answers a call."""

_UNBOUNDED = float("inf")
_RATES = Rates(size=_UNBOUNDED, items=_UNBOUNDED, reads=_UNBOUNDED, cpu=CPU_RATE)


class Restarts:
    """Delays the replacement of a project's instances that end by themselves, and suspects functions that fill their
    memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, by_deployment: bool = False) -> None:
        """With `by_deployment`, each deployment has a rate of its own: its project then stands for no tenant."""
        self._clock, self._parts = clock, 2 if by_deployment else 1
        self._projects: dict[tuple[str, ...], Throttle] = {}
        self._until: dict[Key, float] = {}
        self._suspects: dict[Key, float] = {}

    def __len__(self) -> int:
        return len(self._projects) + len(self._until) + len(self._suspects)

    def count(self, key: Key, filled_mb: int = 0) -> float:
        """Count an instance that ended by itself, `filled_mb` if it ended at its memory limit.

        Returns the seconds until it may be replaced.
        """
        self._forget()
        throttle = self._projects.setdefault(key[: self._parts], Throttle(_RATES, BURST_SECONDS, self._clock))
        if wait := throttle.spend(cpu=START_CPU + MEMORY_CPU * min(filled_mb, MOST_COUNTED_MB) / 1024):
            self._until[key] = self._clock() + wait
        if filled_mb:
            self._suspects[key] = self._clock() + SUSPECT_SECONDS
        return wait

    def wait(self, key: Key) -> float:
        """Return the seconds until the next instance may start, usually 0."""
        return max(0.0, self._until.get(key, 0.0) - self._clock())

    def suspected(self, key: Key) -> bool:
        """Return True if the last instance filled its memory a short time ago, and none has answered a call since."""
        return self._suspects.get(key, 0.0) > self._clock()

    def trust(self, key: Key) -> None:
        """Stop suspecting a function."""
        self._suspects.pop(key, None)

    def _forget(self) -> None:
        """Drop entries that delay nothing."""
        now = self._clock()
        self._until = {key: until for key, until in self._until.items() if until > now}
        self._suspects = {key: until for key, until in self._suspects.items() if until > now}
        self._projects = {project: throttle for project, throttle in self._projects.items() if not throttle.rested}
