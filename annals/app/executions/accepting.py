"""Calls that are being accepted: several at once in one process let the workers of its host know."""

from collections.abc import Iterator
from contextlib import contextmanager

from annals.store.pressure import Pressure

SEVERAL = 4
"""Calls in hand from which on accepting is hard work: a caller alone, or three, leave a host idle between answers."""


class Accepting:
    """One per process."""

    def __init__(self, pressure: Pressure) -> None:
        self._pressure, self._in_hand = pressure, 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """While one call is read, sealed and recorded."""
        self._in_hand += 1
        if self._in_hand >= SEVERAL:
            self._pressure.press()
        try:
            yield
        finally:
            self._in_hand -= 1
