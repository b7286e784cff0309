"""Cleanup: ends and removes what deletions and age leave behind. The older events stay in the log.

- `Cleanup` handles the job messages of deletions at once, before the next sweep does.
- `RetentionSweeper` removes old executions and deployments by recorded events.
- `BlobGarbage` removes blobs that no row names, from failed appends, broken uploads and deletions.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog

from annals.application.deletion import end_builds, end_executions, end_work
from annals.domain.base import Key
from annals.domain.commands.deployments import expire_deployment
from annals.domain.commands.executions import sweep_executions
from annals.domain.deployment import Deployment
from annals.domain.errors import Conflict, DeploymentNotFound, FunctionNotFound
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.ports import Executor
from annals.domain.retention import Retention, SweepReason
from annals.store.content import contents
from annals.store.content.blobs import Blobs, sweep
from annals.store.content.contents import ARTEFACTS, SOURCES, UPLOADS, Contents, deployment_prefix
from annals.store.log.log import EventLog
from annals.store.postgres import sql
from annals.store.postgres.database import Database
from annals.workers.job_messages import UNKNOWN, Cause, split_stream

QUERIES = sql.load(__package__, "cleanup.sql")

STOP_SECONDS = 5.0
"""How long the executors are asked for a canceled execution: longer than a claim takes to reach one."""

_STOP_PAUSE_SECONDS = 0.1

_STEP = 500
"""Executions that one event removes: short enough that no append waits long for its lock."""

_ACTOR = "retention"

ABANDONED = timedelta(days=1)
"""The age at which parts of an upload that was never completed are removed."""

_RECENT = timedelta(minutes=1)

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


class BlobGarbage:
    """Sweeps the blob store; `grace` must exceed the longest time between a blob and the event that names it."""

    def __init__(self, database: Database, store: Contents, *, grace: timedelta) -> None:
        self._database = database
        self._contents = store
        self._grace = grace
        self._blobs: Blobs = store.blobs

    async def run(self) -> None:
        """Sweep all prefixes."""
        await self.sweep(datetime.now(UTC))

    async def sweep(self, now: datetime) -> list[str]:
        """Remove the blobs that no row named for the grace period, and return their keys."""
        removed = await sweep(self._blobs, contents.PREFIX, self._contents.known, now=now, grace=self._grace)
        for prefix in (SOURCES, ARTEFACTS):
            removed += await sweep(self._blobs, prefix, self._in_use, now=now, grace=self._grace)
        removed += await sweep(self._blobs, UPLOADS, self._awaited, now=now, grace=self._grace)
        return removed + await sweep(self._blobs, UPLOADS, _none, now=now, grace=ABANDONED)

    async def sweep_deployment(self, project_id: str, deployment_id: str, now: datetime) -> None:
        """Remove the blobs of a deleted deployment at once, except those written a moment ago."""
        for prefix in (SOURCES, ARTEFACTS, UPLOADS):
            known = self._awaited if prefix == UPLOADS else self._in_use
            below = deployment_prefix(prefix, project_id, deployment_id)
            await sweep(self._blobs, below, known, now=now, grace=_RECENT)

    async def _in_use(self, keys: Sequence[str]) -> set[str]:
        rows = await self._database.rows(QUERIES["blobs_in_use"], {"keys": list(keys)})
        return {row["key"] for row in rows}

    async def _awaited(self, keys: Sequence[str]) -> set[str]:
        owners = {key: tuple(key.split("/")[1:3]) for key in keys}
        params = {
            "projects": [project for project, _ in owners.values()],
            "deployments": [deployment for _, deployment in owners.values()],
        }
        rows = await self._database.rows(QUERIES["uploads_open"], params)
        still_open = {(row["project_id"], row["deployment_id"]) for row in rows}
        return {key for key, owner in owners.items() if owner in still_open}


async def _none(_keys: Sequence[str]) -> set[str]:
    return set()


class Cleanup:
    """Handles the job messages of deletions. Each is safe to repeat and to lose: instances idle out, the outcomes of
    builds are refused, and sweeps remove the rest. Raises ExecutorUnavailable where nothing can run."""

    def __init__(
        self, log: EventLog, executor: Executor, retention: RetentionSweeper, blob_garbage: BlobGarbage
    ) -> None:
        self._log = log
        self._executor = executor
        self._retention = retention
        self._blob_garbage = blob_garbage

    async def stop_execution(self, stream: str, _cause: Cause = UNKNOWN) -> None:
        """Kill the run of a canceled execution; a run that was claimed just before may reach its executor later."""
        execution = await self._log.load(Key(Execution, stream, None))
        if execution is None or not execution.epoch:
            return
        subject = split_stream(stream)
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS
        while not await self._executor.cancel_execution(*subject):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(_STOP_PAUSE_SECONDS)
        log.info("execution_stopped", execution=stream)

    async def retire_deployment(self, stream: str, _cause: Cause = UNKNOWN) -> None:
        """End the build and the instances of a deleted deployment, and remove its archives."""
        project_id, deployment_id = split_stream(stream)
        if await self._executor.cancel_build(project_id, deployment_id):
            log.info("build_stopped", deployment=stream)
        await self._executor.retire(project_id, deployment_id)
        await self._blob_garbage.sweep_deployment(project_id, deployment_id, datetime.now(UTC))

    async def retire_function(self, stream: str, cause: Cause = UNKNOWN) -> None:
        """End and remove the work of a deleted function, and retire its instances."""
        project_id, function_id = split_stream(stream)
        await self._retention.sweep_orphans_of(project_id, function_id, cause)
        function = await self._log.load(Key(Function, stream, None))
        if function is not None and function.deployment_id:
            await self._executor.retire(project_id, function.deployment_id)
