"""Log lines of outcomes: bounded in number, and without the text of a function's own errors."""

from datetime import UTC, datetime

from structlog.testing import capture_logs

from annals.application.event_log import LINES_A_SECOND, OutcomeLog
from annals.domain.execution import Execution
from annals.telemetry.request_log import LogRate
from tests.unit.domain.given import RAN, given_execution


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def failed(reason: str, message: str) -> Execution:
    execution = given_execution("processing")
    execution.collect_events()
    execution.fail(1, reason, message, now=datetime.now(UTC), status_code=500, ran=RAN)  # type: ignore[arg-type]
    return execution


def test_infrastructure_failure_is_logged_with_the_first_line_of_its_message() -> None:
    execution = failed("timeout", "Execution timed out after 3 seconds.\nmore")
    with capture_logs() as lines:
        OutcomeLog()([execution], execution.collect_events())

    assert lines == [
        {
            "event": "execution_failed",
            "log_level": "warning",
            "project": execution.project_id,
            "function": execution.function_id,
            "execution": execution.execution_id,
            "reason": "timeout",
            "message": "Execution timed out after 3 seconds.",
        }
    ]


def test_error_of_the_code_is_logged_without_its_text() -> None:
    execution = failed("error", "the password is hunter2")
    with capture_logs() as lines:
        OutcomeLog()([execution], execution.collect_events())

    assert (lines[0]["reason"], lines[0]["status"]) == ("error", 500)
    assert "hunter2" not in str(lines)


def test_failures_beyond_the_log_rate_are_counted_in_one_line() -> None:
    clock = Clock()
    outcomes = OutcomeLog(LogRate(LINES_A_SECOND, clock))
    execution = failed("error", "")
    events = execution.collect_events()
    with capture_logs() as lines:
        for _ in range(1000):
            outcomes([execution], events)
        clock.now = 1.0
        outcomes([execution], events)

    assert len(lines) == LINES_A_SECOND + 2
    assert lines[-2] == {
        "event": "more_failed_executions",
        "log_level": "warning",
        "count": 1000 - LINES_A_SECOND,
    }


def test_success_and_requests_are_not_logged() -> None:
    execution = given_execution("processing")
    execution.complete(1, status_code=200, headers=[], ran=RAN)
    with capture_logs() as lines:
        OutcomeLog()([execution], execution.collect_events())

    assert lines == []
