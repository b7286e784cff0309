"""Metrics of the API, shared by the processes of a host: each of them answers a scrape for all.

prometheus_client's multiprocess mode shares them (docs/adr): each process writes its values to its own files below
`ANNALS_METRICS_FOLDER`, under a name that its successor reuses, so that counters continue after a crash.
"""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the duration histogram, in seconds."""

FILE_BYTES = 1024 * 1024
"""Allocated for each file at the start: a write to a mapped file on a full disk would kill the process."""


def share(folder: Path, process: str) -> None:
    """Store this process's values in files with its name. Call it before `Metrics` is created.

    `process` is unique on the host and has no underscore. Raises OSError if the folder cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    forget(folder, process)
    for kind in ("counter", "histogram", "gauge_livesum"):
        with (folder / f"{kind}_{process}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, FILE_BYTES)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # the library reads only this variable
    values.ValueClass = values.MultiProcessValue(lambda: process)  # type: ignore[no-untyped-call]


def forget(folder: Path, process: str) -> None:
    """Drop the gauges of an ended process, such as running requests; its counters stay."""
    mark_process_dead(process, str(folder))  # type: ignore[no-untyped-call]


class Metrics:
    """Requests by operation and status, and their durations."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._registry = CollectorRegistry()
        self._answered = Counter(
            "annals_http_requests_total",
            "Answered requests by route and status.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._running = Gauge(
            "annals_http_requests_running",
            "Requests that are being answered.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._seconds = Histogram(
            "annals_http_request_duration_seconds",
            "Time from a request's head to its answer's head.",
            buckets=BOUNDS,
            registry=self._registry,
        )
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self.running = 0

    def begin(self) -> None:
        """Count a running request."""
        self.running += 1
        self._running.set(self.running)

    def end(self) -> None:
        """End the count of a running request."""
        self.running -= 1
        self._running.set(self.running)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer; a request without a route counts under an empty one."""
        key = (method, route, status)
        counter = self._counters.get(key)
        if counter is None:  # a lookup by labels costs more than the count
            counter = self._counters[key] = self._answered.labels(*key)
        counter.inc()
        self._seconds.observe(seconds)

    def text(self) -> str:
        """Return the metrics of all processes that share the folder, in Prometheus' text format."""
        registry = self._registry
        if self._folder is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(registry).decode()
