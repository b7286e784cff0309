"""Whether the API processes of a host are busy accepting work: a moment in memory that they share with its workers.

Why work gives way to acceptance: docs/adr/0026-accepting-before-running.md.
"""

import mmap
import struct
import time
from collections.abc import Callable, Sequence
from typing import Self

from annals.capacity.shared_memory import opened

HOLD_SECONDS = 0.1
"""How long a sign holds: who gives it renews it, and who dies has taken it back."""

_UNTIL = struct.Struct("d")


class Backpressure:
    """`clock` counts seconds and is the same for all processes of a host."""

    def __init__(self, memory: mmap.mmap, clock: Callable[[], float] = time.monotonic) -> None:
        self._memory, self._clock = memory, clock

    @classmethod
    def open(cls, executors: Sequence[str], clock: Callable[[], float] = time.monotonic) -> Self:
        """That of the host whose executor these addresses name."""
        return cls(opened(executors, "pressure", _UNTIL.size), clock)

    def press(self) -> None:
        """Say that callers wait for their work to be accepted, for a moment from now."""
        _UNTIL.pack_into(self._memory, 0, self._clock() + HOLD_SECONDS)

    @property
    def pressed(self) -> bool:
        """Whether somebody said so a moment ago; what a file says of before the host was started is nothing."""
        (until,) = _UNTIL.unpack_from(self._memory)
        now = self._clock()
        return bool(now < until <= now + HOLD_SECONDS)
