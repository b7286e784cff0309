"""A bound on log lines: so many a second, and a count of the others."""

import time
from collections.abc import Callable


class LogRate:
    """A token bucket of log lines; holds one second's worth."""

    def __init__(self, lines_a_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock, self._since = lines_a_second, clock, clock()
        self._lines, self._untold = lines_a_second, 0

    def take(self) -> bool:
        """True if a line may be written now; otherwise it is counted."""
        now = self._clock()
        self._lines = min(self._most, self._lines + (now - self._since) * self._most)
        self._since = now
        if self._lines < 1:
            self._untold += 1
            return False
        self._lines -= 1
        return True

    def untold(self) -> int:
        """The number of lines that were counted instead of written since the last call."""
        count, self._untold = self._untold, 0
        return count
