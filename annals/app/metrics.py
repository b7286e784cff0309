"""What the API counts of itself, in Prometheus' text format."""

from bisect import bisect_left
from collections import defaultdict
from typing import Any

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the duration histogram, in seconds."""


class Metrics:
    """Requests by operation and status, and how long they took; one per process."""

    def __init__(self) -> None:
        self.running = 0
        self._counts: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def count(self, call: Any, status: int, seconds: float) -> None:
        """Count one answer; a request that met no operation counts under an empty route."""
        operation = getattr(call, "operation", None)
        method, path = (operation.method, operation.path) if operation else ("", "")
        self._counts[method, path, status] += 1
        self._seconds += seconds
        self._buckets[bisect_left(BOUNDS, seconds)] += 1

    def text(self) -> str:
        """All of it."""
        lines = [
            "# HELP annals_http_requests_total Answered requests by route and status.",
            "# TYPE annals_http_requests_total counter",
            *(
                f'annals_http_requests_total{{method="{method}",route="{path}",status="{status}"}} {count}'
                for (method, path, status), count in sorted(self._counts.items())
            ),
            "# HELP annals_http_requests_running Requests that are being answered.",
            "# TYPE annals_http_requests_running gauge",
            f"annals_http_requests_running {self.running}",
            "# HELP annals_http_request_duration_seconds Time from a request's head to its answer's head.",
            "# TYPE annals_http_request_duration_seconds histogram",
        ]
        below = 0
        for bound, count in zip((*BOUNDS, "+Inf"), self._buckets, strict=True):
            below += count
            lines.append(f'annals_http_request_duration_seconds_bucket{{le="{bound}"}} {below}')
        lines.append(f"annals_http_request_duration_seconds_sum {self._seconds:.6f}")
        lines.append(f"annals_http_request_duration_seconds_count {below}")
        return "\n".join(lines) + "\n"
