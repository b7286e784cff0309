"""A bound on log lines per second, with a count of the lines beyond it."""

import time
from collections.abc import Callable


class LogRate:
    """A token bucket of log lines that holds the lines of one second."""

    def __init__(self, lines_a_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock, self._since = lines_a_second, clock, clock()
        self._lines, self._suppressed = lines_a_second, 0

    def take(self) -> bool:
        """Return True if a line may be written now; otherwise count it."""
        now = self._clock()
        self._lines = min(self._most, self._lines + (now - self._since) * self._most)
        self._since = now
        if self._lines < 1:
            self._suppressed += 1
            return False
        self._lines -= 1
        return True

    def suppressed(self) -> int:
        """Return the number of suppressed lines since the last call."""
        count, self._suppressed = self._suppressed, 0
        return count
