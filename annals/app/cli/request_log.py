"""One log line a request while they come slowly, a count when they come fast: a log to read costs no throughput."""

import time
from collections.abc import Callable

import structlog

LINES_A_SECOND = 10.0
QUIET = ("/v1/health", "/metrics")
"""What watchers ask for all the time."""

log = structlog.get_logger()


class RequestLog:
    """A bucket of lines that refills; what finds it empty is only counted, and told by `summarise`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._since = clock, clock()
        self._lines, self._untold = LINES_A_SECOND, 0

    def ended(self, method: str, path: str, status: int, seconds: float) -> None:
        """An answered request; its query is left out, since it may carry what is nobody's business."""
        if path.startswith(QUIET):
            return
        now = self._clock()
        self._lines = min(LINES_A_SECOND, self._lines + (now - self._since) * LINES_A_SECOND)
        self._since = now
        if self._lines < 1:
            self._untold += 1
            return
        self._lines -= 1
        log.info("request", method=method, path=path, status=status, ms=round(seconds * 1000, 1))

    def summarise(self) -> None:
        """Tell how many were only counted, if any."""
        if self._untold:
            log.info("more_requests", count=self._untold)
            self._untold = 0
