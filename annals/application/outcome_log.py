"""The log lines of finished builds and failed executions, written by whichever process recorded the outcome."""

from collections.abc import Sequence
from typing import Any

import structlog

from annals.domain.base import Aggregate
from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.telemetry.log_rate import LogRate

LINES_A_SECOND = 10.0
"""A function that fails a thousand times a second must not fill the disk with log lines."""

_LONGEST_MESSAGE = 300

log = structlog.get_logger(__name__)


class OutcomeLog:
    """Logs recorded outcomes. Messages of a function's own errors are left out: they may hold its secrets."""

    def __init__(self, rate: LogRate | None = None) -> None:
        self._rate = rate or LogRate(LINES_A_SECOND)

    def __call__(self, aggregates: Sequence[Aggregate], events: Sequence[Any]) -> None:
        """Log what an append recorded; `aggregates` are those that decided `events`."""
        by_stream = {aggregate.id: aggregate for aggregate in aggregates}
        for event in events:
            aggregate = by_stream.get(event.originator_id)
            if isinstance(aggregate, Deployment):
                self._build(aggregate, event)
            elif isinstance(aggregate, Execution):
                self._execution(aggregate, event)

    def _build(self, deployment: Deployment, event: Any) -> None:
        ids = {
            "project": deployment.project_id,
            "function": deployment.function_id,
            "deployment": deployment.deployment_id,
        }
        match event:
            case Deployment.BuildStarted():
                log.info("build_started", **ids)
            case Deployment.BuildSucceeded():
                log.info("build_ready", **ids, seconds=round(event.milliseconds / 1000, 1))
            case Deployment.BuildFailed():
                log.warning("build_failed", **ids, reason=event.reason, message=_first_line(event.message))
            case Deployment.BuildCanceled():
                log.info("build_canceled", **ids, reason=event.reason or "requested")

    def _execution(self, execution: Execution, event: Any) -> None:
        ids = {
            "project": execution.project_id,
            "function": execution.function_id,
            "execution": execution.execution_id,
        }
        match event:
            case Execution.Failed() | Execution.RetryScheduled() | Execution.DeadLettered():
                if not self._rate.take():
                    return
                if left_out := self._rate.suppressed():
                    log.warning("more_failed_executions", count=left_out)
                log.warning(_EXECUTION_EVENTS[type(event)], **ids, **_failure(event))


_EXECUTION_EVENTS: dict[type, str] = {
    Execution.Failed: "execution_failed",
    Execution.RetryScheduled: "execution_failed_and_retries",
    Execution.DeadLettered: "execution_dead_lettered",
}


def _failure(event: Any) -> dict[str, Any]:
    if event.reason == "error":
        return {"reason": event.reason, "status": event.status_code}
    return {"reason": event.reason, "message": _first_line(event.message)}


def _first_line(message: str) -> str:
    return message.partition("\n")[0][:_LONGEST_MESSAGE]
