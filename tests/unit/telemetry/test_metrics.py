"""The metrics of one process, and the counters that the next process of its name takes over."""

import os
from pathlib import Path

import pytest
from prometheus_client import values

from annals.telemetry import metrics
from annals.telemetry.metrics import Metrics

ROUTE = ("GET", "/v1/functions")


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setitem(os.environ, "PROMETHEUS_MULTIPROC_DIR", "")
    return tmp_path


def test_requests_count_by_route_and_status() -> None:
    counted = Metrics()
    counted.count(*ROUTE, 200, 0.02)
    counted.count("", "", 404, 0.001)

    text = counted.text()

    assert 'annals_http_requests_total{method="GET",route="/v1/functions",status="200"} 1.0' in text
    assert 'annals_http_requests_total{method="",route="",status="404"} 1.0' in text
    assert 'annals_http_request_duration_seconds_bucket{le="0.025"} 2.0' in text


def test_each_process_answers_for_all_processes_of_the_folder(shared: Path) -> None:
    metrics.share(shared, "api1")
    first = Metrics(shared)
    first.begin()
    first.count(*ROUTE, 200, 0.02)
    metrics.share(shared, "api2")
    second = Metrics(shared)
    second.count(*ROUTE, 200, 0.02)

    for process in (first, second):
        assert 'annals_http_requests_total{method="GET",route="/v1/functions",status="200"} 2.0' in process.text()
        assert "annals_http_requests_running 1.0" in process.text()


def test_successor_continues_counters_and_resets_gauges(shared: Path) -> None:
    metrics.share(shared, "api1")
    former = Metrics(shared)
    former.begin()
    former.count(*ROUTE, 200, 0.02)

    metrics.share(shared, "api1")
    later = Metrics(shared)
    later.count(*ROUTE, 200, 0.02)

    assert 'annals_http_requests_total{method="GET",route="/v1/functions",status="200"} 2.0' in later.text()
    assert "annals_http_requests_running 0.0" in later.text()


def test_metric_files_are_preallocated(shared: Path) -> None:
    metrics.share(shared, "api1")
    assert {file.stat().st_blocks * 512 >= metrics.FILE_BYTES for file in shared.iterdir()} == {True}
