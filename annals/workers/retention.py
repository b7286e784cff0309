"""Retention: recorded events remove old rows and contents; the older events stay in the log."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog

from annals.application.function_deletion import end_builds, end_executions, end_work
from annals.domain.commands.deployments import expire_deployment
from annals.domain.commands.executions import sweep_executions
from annals.domain.deployment import Deployment
from annals.domain.errors import Conflict, DeploymentNotFound, FunctionNotFound
from annals.domain.function import Function
from annals.domain.retention import Retention, SweepReason
from annals.store.log.log import EventLog
from annals.store.postgres import sql
from annals.workers.job_messages import UNKNOWN, Cause

QUERIES = sql.load(__package__, "retention.sql")

_STEP = 500
"""Executions that one event removes: short enough that no append waits long for its lock."""

_ACTOR = "retention"

log = structlog.get_logger(__name__)


class DeletedFunction(NamedTuple):
    """A function between one creation and its deletion."""

    project_id: str
    function_id: str
    function_sequence: int


class RetentionSweeper:
    """Removes old executions and deployments; `execution_days` 0 keeps executions for good."""

    def __init__(self, log: EventLog, *, execution_days: int) -> None:
        self._log = log
        self._database = log.database
        self._days = execution_days

    async def run(self) -> None:
        """Remove all that is due now."""
        now = datetime.now(UTC)
        await self.sweep_executions(now)
        await self.drop_deployments(now)

    async def sweep_executions(self, now: datetime) -> int:
        """Remove executions older than the setting's days, and end and remove those of deleted functions."""
        before = now - timedelta(days=self._days) if self._days else datetime.min.replace(tzinfo=UTC)
        functions = await self._database.rows(QUERIES["functions_with_old_executions"], {"before": before})
        steps = 0
        for row in functions:
            reason: SweepReason = "function_deleted" if row["orphaned"] else "age"
            owner = DeletedFunction(row["project_id"], row["function_id"], row["function_sequence"])
            cause = Cause(row["cause"])
            if row["orphaned"]:
                meta = cause.meta(_ACTOR)
                await end_executions(self._log, meta, project_id=owner.project_id, function_id=owner.function_id)
            steps += await self._sweep(owner, before, reason, cause)
        return steps

    async def end_abandoned_builds(self) -> int:
        """End builds of deleted functions that the deletion did not end itself, and return how many."""
        return await end_builds(self._log, UNKNOWN.meta(_ACTOR))

    async def sweep_orphans_of(self, project_id: str, function_id: str, cause: Cause) -> None:
        """End the work of a function's deleted incarnations, and remove their executions."""
        await end_work(self._log, cause.meta(_ACTOR), project_id=project_id, function_id=function_id)
        params = {"project_id": project_id, "function_id": function_id}
        for row in await self._database.rows(QUERIES["orphaned_functions"], params):
            incarnation = row["function_sequence"]
            owner = DeletedFunction(project_id, function_id, incarnation)
            await self._sweep(owner, datetime.now(UTC), "function_deleted", cause)

    async def _sweep(self, owner: DeletedFunction, before: datetime, reason: SweepReason, cause: Cause) -> int:
        params = {
            **owner._asdict(),
            "before": before,
            "all": reason == "function_deleted",
            "limit": _STEP,
        }
        steps = 0
        while (up_to := await self._database.value(QUERIES["next_step"], params)) is not None:
            await self._log.run(
                sweep_executions,
                Retention.key(owner.project_id),
                meta=cause.meta(_ACTOR),
                project_id=owner.project_id,
                function_id=owner.function_id,
                incarnation=owner.function_sequence,
                up_to=up_to,
                reason=reason,
            )
            steps += 1
        if steps:
            log.info(
                "executions_swept", project=owner.project_id, function=owner.function_id, reason=reason, steps=steps
            )
        return steps

    async def drop_deployments(self, now: datetime) -> int:
        """Delete deployments that are older than their function keeps them, except the active one."""
        dropped = 0
        rows = await self._database.rows(QUERIES["old_deployments"], {"now": now, "limit": _STEP})
        for row in rows:
            keys = (
                Function.key(row["project_id"], row["function_id"]),
                Deployment.key(row["project_id"], row["deployment_id"]),
            )
            try:
                await self._log.run(expire_deployment, *keys, meta=UNKNOWN.meta(_ACTOR))
                dropped += 1
            except (FunctionNotFound, DeploymentNotFound, Conflict):
                continue
        return dropped
