"""Commands on executions, and on their removal by age."""

from datetime import datetime
from typing import Any

from annals.domain.base import Aggregate
from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.ports import UNANSWERED_STATUS
from annals.domain.retention import Retention, SweepReason


def cancel_execution(execution: Execution, *, function_id: str, incarnation: int) -> list[Aggregate]:
    execution.require_function(function_id, incarnation)
    execution.cancel()
    return [execution]


def abandon_all(*unfinished: Execution | Deployment) -> list[Aggregate]:
    """End the open executions and builds of functions that are being deleted."""
    for work in unfinished:
        work.abandon(work.function_incarnation)
    return list(unfinished)


def lose_execution(execution: Execution, *, epoch: int, now: datetime) -> list[Aggregate]:
    """Record that the worker of an open execution was lost."""
    execution.fail(
        epoch,
        "worker_lost",
        "The worker that ran this execution was lost before it recorded an outcome. Run it again.",
        now=now,
        status_code=UNANSWERED_STATUS,
    )
    return [execution]


def redrive_execution(
    dead: Execution, former: Execution | None, *, function_id: str, incarnation: int, execution_id: str, **fields: Any
) -> list[Aggregate]:
    """Run a dead letter again as a new execution, which stores the sealed input; `fields` are those of `Requested`."""
    dead.require_function(function_id, incarnation)
    dead.redrive(execution_id)
    again = Execution.request_run(
        former,
        project_id=dead.project_id,
        function_id=function_id,
        function_incarnation=incarnation,
        execution_id=execution_id,
        trigger=dead.trigger,
        redrives=dead.execution_id,
        **fields,
    )
    return [dead, again]


def discard_execution(execution: Execution, *, function_id: str, incarnation: int) -> list[Aggregate]:
    execution.require_function(function_id, incarnation)
    execution.discard()
    return [execution]


def delete_execution(execution: Execution, *, function_id: str, incarnation: int, stale: bool) -> list[Aggregate]:
    execution.require_function(function_id, incarnation)
    execution.delete(stale=stale)
    return [execution]


def sweep_executions(
    former: Retention | None, *, project_id: str, function_id: str, incarnation: int, up_to: int, reason: SweepReason
) -> list[Aggregate]:
    retention = Retention.of(former, project_id)
    retention.sweep_executions(function_id, incarnation, up_to, reason)
    return [retention]
