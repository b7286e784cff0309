"""Requests in the log: one line each at a low rate, and a count at a high rate."""

from structlog.testing import capture_logs

from annals.telemetry.request_log import LINES_A_SECOND, RequestLog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_slow_request_has_its_line() -> None:
    with capture_logs() as lines:
        RequestLog(Clock()).ended("GET", "/v1/functions", 200, 0.0123)

    assert lines == [
        {"event": "request", "log_level": "info", "method": "GET", "path": "/v1/functions", "status": 200, "ms": 12.3}
    ]


def test_many_requests_are_counted_in_one_line() -> None:
    clock = Clock()
    requests = RequestLog(clock)
    with capture_logs() as lines:
        for _ in range(1000):
            requests.ended("GET", "/v1/functions", 200, 0.001)
        requests.summarise()
        requests.summarise()

    assert len(lines) == LINES_A_SECOND + 1
    assert lines[-1] == {"event": "more_requests", "log_level": "info", "count": 1000 - LINES_A_SECOND}


def test_lines_resume_later_and_monitoring_paths_are_not_logged() -> None:
    clock = Clock()
    requests = RequestLog(clock)
    with capture_logs() as lines:
        for _ in range(100):
            requests.ended("GET", "/v1/functions", 200, 0.001)
        clock.now = 0.5
        for _ in range(100):
            requests.ended("GET", "/v1/functions", 200, 0.001)
            requests.ended("GET", "/v1/health/ready", 200, 0.001)

    assert len(lines) == LINES_A_SECOND * 1.5
