"""The API's own metrics, shared by the processes of a host so that any of them answers a scrape for all.

Sharing is prometheus_client's multiprocess mode (docs/adr): each process writes its values to files of its own below
`ANNALS_METRICS_FOLDER`, under a name that its successor takes over. So counters go on where a killed process left them.
"""

import os
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the duration histogram, in seconds."""

FILE_BYTES = 1024 * 1024
"""Allocated for each file beforehand: a process that writes to a mapped file on a full disk would be killed."""


def share(folder: Path, process: str) -> None:
    """Keep this process's values in files of the folder that carry its name. Call it before `Metrics` is made.

    `process` names one running process of the host and holds no underscore. Raises OSError for a folder that can't be
    written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    forget(folder, process)
    for kind in ("counter", "histogram", "gauge_livesum"):
        with (folder / f"{kind}_{process}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, FILE_BYTES)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # the library reads it there alone
    values.ValueClass = values.MultiProcessValue(lambda: process)  # type: ignore[no-untyped-call]


def forget(folder: Path, process: str) -> None:
    """Drop what an ended process said of its present, such as running requests; its counters stay."""
    mark_process_dead(process, str(folder))  # type: ignore[no-untyped-call]


class Metrics:
    """Requests by operation and status, and how long they took."""

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
        """Count a request that is being answered."""
        self.running += 1
        self._running.set(self.running)

    def end(self) -> None:
        """Count it no more."""
        self.running -= 1
        self._running.set(self.running)

    def count(self, call: Any, status: int, seconds: float) -> None:
        """Count one answer; a request that met no operation counts under an empty route."""
        operation = getattr(call, "operation", None)
        key = (operation.method, operation.path, status) if operation else ("", "", status)
        counter = self._counters.get(key)
        if counter is None:  # looking a child up by its labels costs more than counting
            counter = self._counters[key] = self._answered.labels(*key)
        counter.inc()
        self._seconds.observe(seconds)

    def text(self) -> str:
        """All of it, of every process that shares the folder, in Prometheus' text format."""
        registry = self._registry
        if self._folder is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(registry).decode()
