"""The event log as the processes of an instance open it: with its projections, checks, errors and log lines.

Statements run in the transaction of an append's events, in this order:
- Checks (`required`) refuse the append or notify of freed slots. The append also checks the data keys of the sealed
  values that its events bring into the log. A replay skips the checks.
- Discards remove what goes with a resource but is no read model: contents, build log pieces, a data key. They run
  before the read models' statements, which remove the rows that the discards search. A rebuild leaves the discards
  out, since their rows are gone already.
- The read models' statements, and checks of the new rows (`required_after`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from annals.domain.base import Aggregate
from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.project import Project
from annals.domain.retention import Retention
from annals.domain.user import User
from annals.projections.executions import sweep_range
from annals.projections.inline import CONSTRAINT_ERRORS, project
from annals.store.content.contents import Contents
from annals.store.log.append_modes import QUERIES as APPEND
from annals.store.log.log import EventLog
from annals.store.log.request import ConcurrencySlot, Statement
from annals.store.postgres import sql
from annals.store.postgres.database import Database
from annals.telemetry.request_log import LogRate

QUERIES = sql.load(__package__, "event_log.sql")

CANCELED = "\nBuild has been canceled.\n"

LINES_A_SECOND = 10.0
"""A function that fails a thousand times a second must not fill the disk with log lines."""

_LONGEST_MESSAGE = 300

log = structlog.get_logger(__name__)


async def open_log(database: Database, contents: Contents) -> EventLog:
    """Open the log as every process that records does. Raises StoreUnavailable."""
    return await EventLog.open(
        database,
        contents=contents,
        inline=inline,
        required=required,
        sealed=sealed_values,
        constraint_errors=CONSTRAINT_ERRORS,
        observer=OutcomeLog(),
    )


def inline(event: Any) -> Sequence[Statement]:
    """Return the statements that share an event's transaction.

    The discards come first, since they find by rows what the read models remove. The checks of the new rows come last.
    """
    discard = DISCARDS.get(type(event))
    return [*(discard(event) if discard is not None else ()), *project(event), *required_after(event)]


def required(event: Any) -> list[Statement]:
    """Return the statements that run before an event's own rows change.

    They refuse new work of a function that was deleted after it was read, since no sweep would find that work. A
    deployment of a former function with the same id counts as deleted, though its stream goes on.

    Others notify of slots that rare events free; the usual end of a run notifies by itself.
    """
    match event:
        case Execution.Requested() | Deployment.UploadStarted():
            stream = Function.stream(event.project_id, event.function_id)
            return [Statement(QUERIES["function"], {"stream": stream, "incarnation": event.function_incarnation})]
        case Function.DeploymentActivated(reason="requested" | "rollback"):
            _, project_id, _ = event.originator_id.split(":", 2)
            stream = Deployment.stream(project_id, event.deployment_id)
            return [Statement(QUERIES["known_deployment"], {"stream": stream})]
        case Deployment.Deleted():
            return [Statement(QUERIES["known_deployment"], {"stream": event.originator_id})]
        case Execution.Failed(ran=None) | Execution.RetryScheduled(ran=None):
            return [Statement(QUERIES["place_back_of"], {"stream": event.originator_id})]
        case Execution.Canceled() | Execution.Deleted():
            return [Statement(QUERIES["place_back_of"], {"stream": event.originator_id})]
        case Function.PolicyChanged():
            _, project_id, function_id = event.originator_id.split(":", 2)
            return [Statement(APPEND["announce_freed_slot"], {"slot": ConcurrencySlot(project_id, function_id).name})]
    return []


def required_after(event: Any) -> list[Statement]:
    """Return the checks that run after an event's own rows changed: the same append may have created their row."""
    match event:
        case Deployment.BuildQueued(reason="uploaded" | "duplicated" | "requested"):
            return [Statement(QUERIES["deployment"], {"stream": event.originator_id})]
    return []


def sealed_values(event: Any) -> list[str]:
    """Return the values that an event records for the first time; repeated ones were checked before."""
    match event:
        case Function.VariableAdded() | Project.VariableAdded():
            return [event.variable.sealed]
        case Function.VariableChanged() | Project.VariableChanged():
            return [event.variable.sealed] if "value" in event.changed else []
        case Project.InstallationAdded():
            return [event.installation.sealed]
        case User.Created() | User.PasswordSet():
            return [event.sealed_password] if event.sealed_password else []
    return []


def _deleted(event: Any) -> list[Statement]:
    identity = {"stream": event.originator_id, "version": event.originator_version}
    return [Statement(QUERIES["contents_of_stream"], identity)]


def _deployment_deleted(event: Deployment.Deleted) -> list[Statement]:
    return [*_deleted(event), *_build_ended(event)]


def _build_ended(event: Any) -> list[Statement]:
    return [Statement(QUERIES["build_log"], {"stream": event.originator_id})]


def _build_canceled(event: Deployment.BuildCanceled) -> list[Statement]:
    return [Statement(QUERIES["canceled_build_log"], {"stream": event.originator_id, "sentence": CANCELED})]


def _function_deleted(event: Function.Deleted) -> list[Statement]:
    stream = {"stream": event.originator_id}
    return [Statement(QUERIES["abandoned_builds"], stream), Statement(QUERIES["contents_of_function"], stream)]


def _project_deleted(event: Project.Deleted) -> list[Statement]:
    stream = {"stream": event.originator_id}
    names = ("contents_of_project", "hold_project", "data_key_of_project")
    return [Statement(QUERIES[name], stream) for name in names]


def _swept(event: Retention.ExecutionsSwept) -> list[Statement]:
    return [Statement(QUERIES["contents_of_swept"], sweep_range(event))]


DISCARDS: Mapping[type, Callable[[Any], Sequence[Statement]]] = {
    Execution.Deleted: _deleted,
    Deployment.Deleted: _deployment_deleted,
    Deployment.BuildSucceeded: _build_ended,
    Deployment.BuildFailed: _build_ended,
    Deployment.BuildCanceled: _build_canceled,
    Function.Deleted: _function_deleted,
    Project.Deleted: _project_deleted,
    Retention.ExecutionsSwept: _swept,
}


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
