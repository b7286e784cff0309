"""The log of requests: one line each at a low rate, a count at a high rate, so that logging costs no throughput."""

import time
from collections.abc import Callable

import structlog

from annals.telemetry.log_rate import LogRate

LINES_A_SECOND = 10.0
QUIET = ("/v1/health", "/metrics")
"""Paths that monitoring requests all the time; they are not logged."""

log = structlog.get_logger()


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
