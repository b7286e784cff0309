"""How fast the executor reads what user code writes. Beyond that it stops reading, and the writer blocks."""

import time
from collections.abc import Callable
from typing import NamedTuple

SMALL = 4 * 1024
"""A read that brings less than this costs more to make than to handle."""


class Rates(NamedTuple):
    """What one source may use in a second: bytes, items (frames, chunks), reads, and seconds of processor time."""

    size: float
    items: float
    reads: float
    cpu: float


class Throttle:
    """Holds one source to its rates, by the resource of which it uses most (generic cell rate algorithm).

    A source that was quiet may use up to `burst` seconds' worth at once.
    """

    def __init__(self, rates: Rates, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates, self._burst, self._clock = rates, burst, clock
        self._paid_until = 0.0

    @property
    def rested(self) -> bool:
        """Whether a whole burst may be used at once."""
        return self._paid_until <= self._clock() - self._burst

    def read(self, size: int) -> float:
        """Count one read of so many bytes, as `spend` does; a large one counts by its bytes alone."""
        return self.spend(size=size, reads=1 if size < SMALL else 0)

    def spend(self, *, size: int = 0, items: int = 0, reads: int = 0, cpu: float = 0.0) -> float:
        """Count what was used; returns for how many seconds to read nothing more, mostly 0."""
        rates = self._rates
        cost = max(size / rates.size, items / rates.items, reads / rates.reads, cpu / rates.cpu)
        now = self._clock()
        self._paid_until = max(self._paid_until, now - self._burst) + cost
        return max(0.0, self._paid_until - now)


_PRINTED = Rates(size=16 * 1024 * 1024, items=float("inf"), reads=1_000, cpu=float("inf"))
_PRINTED_BURST = 0.5


def printed() -> Throttle:
    """A throttle for what a sandbox prints."""
    return Throttle(_PRINTED, _PRINTED_BURST)
