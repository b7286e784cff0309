"""The log of requests: one line each at a low rate, a count at a high rate, so that logging costs no throughput."""

import time
from collections.abc import Callable

import structlog

LINES_A_SECOND = 10.0
QUIET = ("/v1/health", "/metrics")
"""Paths that monitoring requests all the time; they are not logged."""

log = structlog.get_logger()


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


class RequestLog:
    """Logs requests within a rate; `summarise` logs the number of the others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = LogRate(LINES_A_SECOND, clock)

    def ended(self, method: str, path: str, status: int, seconds: float) -> None:
        """Log an answered request; its query is left out, since it may hold secrets.

        Request id, project and position come from the log context.
        """
        if not path.startswith(QUIET) and self._rate.take():
            log.info("request", method=method, path=path, status=status, ms=round(seconds * 1000, 1))

    def summarise(self) -> None:
        """Log how many requests were only counted, if any."""
        if count := self._rate.suppressed():
            log.info("more_requests", count=count)
