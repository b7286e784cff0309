"""Cleanup after a deletion: end runs and remove files at once, before the next sweep does."""

import asyncio
from datetime import UTC, datetime

import structlog

from annals.domain.base import Key
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.ports import Executor
from annals.store.log.log import EventLog
from annals.workers.blob_garbage import BlobGarbage
from annals.workers.job_messages import UNKNOWN, Cause, split_stream
from annals.workers.retention import RetentionSweeper

STOP_SECONDS = 5.0
"""How long the executors are asked for a canceled execution: longer than a claim takes to reach one."""

_STOP_PAUSE = 0.1

log = structlog.get_logger(__name__)


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
            await asyncio.sleep(_STOP_PAUSE)
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
