"""Executions of functions. This read model has the most events, so each event is one short statement.

The functions that return the columns of an event serve the statements and the fold of whole batches.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from annals.domain.execution import Execution, FailedAttempt, Header
from annals.domain.function import Function
from annals.domain.retention import Retention
from annals.projections.projectors import Projector, identity, writes
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "executions.sql")
CANCELED = "The execution was canceled."
ABANDONED = "The function was deleted before the execution ended."
_encode = msgspec.json.Encoder().encode

Columns = dict[str, Any]


def requested(event: Execution.Requested) -> Columns:
    """Return the columns of an accepted call; others have their defaults."""
    request = event.request
    return {
        "project_id": event.project_id,
        "execution_id": event.execution_id,
        "function_id": event.function_id,
        "function_sequence": event.function_incarnation,
        "deployment_id": event.deployment_id,
        "function_version": event.function_version,
        "trigger": event.trigger,
        "status": "processing" if event.epoch else ("scheduled" if event.scheduled_at else "waiting"),
        "user_id": request.user_id,
        "request_method": request.method,
        "request_path": _text(request.path),
        "request_headers": _json(request.headers),
        "input_size": request.input_size,
        "worker": event.worker,
        "epoch": event.epoch,
        "scheduled_at": event.scheduled_at,
    }


def claimed(event: Execution.Claimed) -> Columns:
    """Return the columns of a started attempt, without the output of the former attempt."""
    return {
        "status": "processing",
        "worker": event.worker,
        "epoch": event.epoch,
        "message": "",
        "retry_at": None,
        **_NO_OUTPUT,
    }


def retry_scheduled(event: Execution.RetryScheduled) -> Columns:
    """Return the columns of a call that waits for its next attempt."""
    sentence = f"Attempt {event.epoch} failed ({event.reason}), the next one is due at {event.due_at.isoformat()}."
    return {
        "status": "waiting",
        "message": _text(f"{sentence} {event.message}".rstrip()),
        "retry_at": event.due_at,
        **_output(event),
    }


NOT_DEAD: Columns = {"dead_reason": ""}
"""The columns of a dead letter that was redriven or discarded."""


def ended(event: Execution.Completed | Execution.Failed | Execution.Canceled) -> Columns:
    """Return the columns of an end. A call that never ran keeps its deployment."""
    if isinstance(event, Execution.Canceled):
        return {
            "status": "failed",
            "reason": "canceled",
            "message": ABANDONED if event.reason else CANCELED,
            "retry_at": None,
            "dead_reason": "",
            **_NO_OUTPUT,
        }
    failed = isinstance(event, Execution.Failed)
    columns = {
        "status": "failed" if failed else "completed",
        "reason": event.reason if isinstance(event, Execution.Failed) else "",
        "message": _text(event.message) if isinstance(event, Execution.Failed) else "",
        "retry_at": None,
        "dead_reason": event.cause if isinstance(event, Execution.DeadLettered) else "",
        **_output(event),
    }
    if (ran := event.ran) is None:
        return columns
    return {
        **columns,
        "response_headers": _json(event.headers),
        "deployment_id": ran.deployment_id,
        "function_version": ran.function_version,
        "environment_digest": ran.environment_digest,
        "specification": ran.specification,
        "cold": ran.cold,
        "queue_ms": ran.queue_ms,
        "start_ms": ran.start_ms,
        "duration_ms": ran.run_ms,
    }


def _output(event: Execution.Completed | FailedAttempt) -> Columns:
    return {
        "response_status_code": event.status_code,
        "logs_version": event.originator_version if event.logs_size + event.errors_size else 0,
        "logs_size": event.logs_size,
        "errors_size": event.errors_size,
    }


_NO_OUTPUT: Columns = {"response_status_code": 0, "logs_version": 0, "logs_size": 0, "errors_size": 0}


def output_kept(event: Execution.OutputKept) -> Columns:
    """Return the columns of the output of a canceled run."""
    return {"logs_version": event.originator_version, "logs_size": event.logs_size, "errors_size": event.errors_size}


def sweep_range(event: Retention.ExecutionsSwept) -> Columns:
    """Return the parameters that select the rows of a sweep."""
    return {
        "project_id": event.originator_id.partition(":")[2],
        "function_id": event.function_id,
        "function_sequence": event.function_incarnation,
        "up_to": event.up_to,
        "all": event.reason == "function_deleted",
    }


def _requested(event: Execution.Requested) -> list[Statement]:
    """Return the statement for a request. A synchronous call returns no row: its answer is the row of its end."""
    function = {"function": Function.stream(event.project_id, event.function_id)}
    table = "" if event.epoch else "executions"
    return [Statement(QUERIES["requested"], {**identity(event), **function, **requested(event)}, table)]


def _claimed(event: Execution.Claimed) -> list[Statement]:
    return [Statement(QUERIES["claimed"], {**identity(event), **claimed(event)})]


def _retry_scheduled(event: Execution.RetryScheduled) -> list[Statement]:
    return [Statement(QUERIES["retry_scheduled"], {**identity(event), **retry_scheduled(event)})]


def _dead_letter_removed(event: Execution.Redriven | Execution.Discarded) -> list[Statement]:
    return [Statement(QUERIES["dead_letter_removed"], {**identity(event), **NOT_DEAD})]


def _ended(event: Execution.Completed | Execution.Failed | Execution.Canceled) -> list[Statement]:
    columns = ended(event)
    query = QUERIES["ended" if "duration_ms" in columns else "ended_unrun"]
    return [Statement(query, {**identity(event), **columns}, "executions")]


def _output_kept(event: Execution.OutputKept) -> list[Statement]:
    return [Statement(QUERIES["output_kept"], {**identity(event), **output_kept(event)})]


def _swept(event: Retention.ExecutionsSwept) -> list[Statement]:
    return [Statement(QUERIES["swept"], sweep_range(event))]


def _text(text: str) -> str:
    """Return a text without NUL characters, which Postgres cannot store."""
    return text.replace("\0", "\ufffd")


def _json(headers: list[Header]) -> str:
    return _encode(headers).decode() if headers else "[]"


PROJECTORS: Mapping[type, Projector] = {
    Execution.Requested: _requested,
    Execution.Claimed: _claimed,
    Execution.Completed: _ended,
    Execution.Failed: _ended,
    Execution.DeadLettered: _ended,
    Execution.Canceled: _ended,
    Execution.OutputKept: _output_kept,
    Execution.RetryScheduled: _retry_scheduled,
    Execution.Redriven: _dead_letter_removed,
    Execution.Discarded: _dead_letter_removed,
    Execution.Deleted: writes(QUERIES["deleted"]),
    Retention.ExecutionsSwept: _swept,
}
