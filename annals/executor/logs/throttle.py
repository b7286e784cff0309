"""Limits how fast the executor reads output of user code. Above the limit it stops reading, and the writer blocks."""

import time
from collections.abc import Callable
from typing import NamedTuple

SMALL = 4 * 1024
"""For a smaller read, the system call costs more than handling its bytes."""


class Rates(NamedTuple):
    """Limits for one source in each second: bytes, items (frames, chunks), reads, and seconds of processor time."""

    size: float
    items: float
    reads: float
    cpu: float


class Throttle:
    """Limits one source by the resource that it uses most (generic cell rate algorithm).

    After a quiet time, the source may use its rates for `burst` seconds at once.
    """

    def __init__(self, rates: Rates, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates, self._burst, self._clock = rates, burst, clock
        self._paid_until = 0.0

    @property
    def rested(self) -> bool:
        """Return True if a whole burst is available."""
        return self._paid_until <= self._clock() - self._burst

    def read(self, size: int) -> float:
        """Count one read of `size` bytes as `spend` does; a large read counts only by its bytes."""
        return self.spend(size=size, reads=1 if size < SMALL else 0)

    def spend(self, *, size: int = 0, items: int = 0, reads: int = 0, cpu: float = 0.0) -> float:
        """Count the resources that were used; return how many seconds to pause, usually 0."""
        rates = self._rates
        cost = max(size / rates.size, items / rates.items, reads / rates.reads, cpu / rates.cpu)
        now = self._clock()
        self._paid_until = max(self._paid_until, now - self._burst) + cost
        return max(0.0, self._paid_until - now)


_PRINTED = Rates(size=16 * 1024 * 1024, items=float("inf"), reads=1_000, cpu=float("inf"))
_PRINTED_BURST = 0.5


def printed() -> Throttle:
    """Return a throttle for the output of a sandbox."""
    return Throttle(_PRINTED, _PRINTED_BURST)
