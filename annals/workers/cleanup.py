"""Chores after a deletion: what still runs or lies around of it goes at once, not only when a clock comes by."""

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
from annals.workers.retention import Retention

STOP_SECONDS = 5.0
"""How long a canceled execution is looked for at the executors: longer than a claim takes to get there."""

_STOP_PAUSE = 0.1

log = structlog.get_logger(__name__)


class Cleanup:
    """Each is safe to repeat, and to miss: instances idle out, builds are refused, clocks sweep. May raise
    ExecutorUnavailable: then there is nothing that runs."""

    def __init__(self, log: EventLog, executor: Executor, retention: Retention, blob_garbage: BlobGarbage) -> None:
        self._log, self._executor, self._retention, self._blob_garbage = log, executor, retention, blob_garbage

    async def stop_execution(self, stream: str, _cause: Cause = UNKNOWN) -> None:
        """Kill the run of a canceled execution. One that was claimed just before may reach its executor only now."""
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
        """End and remove the work of a deleted function, and the instances that answered for it."""
        project_id, function_id = split_stream(stream)
        await self._retention.sweep_orphans_of(project_id, function_id, cause)
        function = await self._log.load(Key(Function, stream, None))
        if function is not None and function.deployment_id:
            await self._executor.retire(project_id, function.deployment_id)
