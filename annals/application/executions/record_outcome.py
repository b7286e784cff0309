"""Record how runs ended: decide the events and contents of an outcome, and append them, now or after an outage."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from annals.application.executions.context import Prepared
from annals.application.executions.prepare import deployment_of
from annals.domain.errors import Conflict, ExecutionNotFound
from annals.domain.execution import CompleteOutput, Execution, RunRecord
from annals.domain.invocation import KEPT_RESPONSE_HEADERS, stored_headers, succeeded, truncated
from annals.domain.ports import Outcome
from annals.store.content.blobs import Blob, BlobError
from annals.store.content.contents import Content, digest
from annals.store.coordination.retry import retry
from annals.store.log.log import EventLog, Meta, Recorded
from annals.store.log.request import ConcurrencySlot

LOGS = "logs"
ERRORS = "errors"
WHOLE = "whole_{}"
"""The kind of the content with the whole output, where the content of the plain kind holds only its end."""

MOST_DEFERRED = 256
"""Outcomes that a process keeps while the store is away. The keeper ends the executions of others as overdue."""

log = structlog.get_logger(__name__)


class EndedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that ended, with its outcome not recorded yet.

    `execution` is as it was when the run began, so its epoch is the claim's. `prepared` is None for a run that could
    not begin. `slot` is the concurrency slot that the outcome frees.
    """

    execution: Execution
    prepared: Prepared | None
    outcome: Outcome
    meta: Meta
    slot: ConcurrencySlot | None


class DeferredOutcomes:
    """Outcomes that wait for the event store; one per process, whose lease shows that it still works on them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Stop; the reaper ends the executions that are left once this process's lease is over."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add(self, execution_id: str, record: Callable[[], Awaitable[object]]) -> None:
        """Record an outcome as soon as the store is back; `record` must be safe to repeat."""
        if len(self._tasks) >= MOST_DEFERRED:
            log.error("end_not_kept", execution=execution_id)
            return
        task = asyncio.create_task(self._record(execution_id, record))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _record(execution_id: str, record: Callable[[], Awaitable[object]]) -> None:
        try:
            await retry(record)
        except Exception:
            log.exception("end_not_recorded", execution=execution_id)


class OutcomeRecorder:
    """Records outcomes: `record` for a caller that waits, `record_persistently` for a worker, which waits itself."""

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log

    async def record(self, ended: EndedRun) -> Recorded | None:
        """Record an outcome; None if another process ended the execution first. Raises StoreUnavailable.

        The output of a run that was canceled meanwhile is kept.
        """
        try:
            return await self._append(ended, ended.execution)
        except Conflict:
            await self.record_again(ended)
            return None
        except BlobError as error:  # only a large output lies in blobs, so the request is recorded already
            return await self.record_again(without_output(ended, error))

    async def record_again(self, ended: EndedRun) -> Recorded | None:
        """Record an outcome for the execution as the log has it now; safe to repeat. Raises StoreUnavailable."""
        with contextlib.suppress(Conflict, ExecutionNotFound, BlobError):
            return await self._append(ended, await self._log.load(_key(ended.execution)))
        return None

    async def record_persistently(self, ended: EndedRun) -> None:
        """Record an outcome, and wait for the store as long as that takes. Raises BlobError."""
        try:
            await self._retry(ended, ended.execution)
        except BlobError as error:
            await self._retry(without_output(ended, error), None)

    async def _retry(self, ended: EndedRun, execution: Execution | None) -> None:
        """Append until it succeeds, deciding again after a failure or another event; without `execution` load it."""
        first = [] if execution is None else [execution]

        async def append() -> None:
            current = first.pop() if first else await self._log.load(_key(ended.execution))
            recorded = await self._append(ended, current)
            if not recorded.events:
                _log_refused(ended)

        try:
            try:
                await retry(append)
            except Conflict:
                first.clear()
                await retry(append)
        except (Conflict, ExecutionNotFound):
            _log_refused(ended)

    async def _append(self, ended: EndedRun, execution: Execution) -> Recorded:
        outcome, prepared = ended.outcome, ended.prepared
        ran = None if prepared is None else used(prepared, outcome)
        logging = prepared is not None and prepared.context.logging
        now = await self.now(execution, outcome)
        contents = decide(execution, ended.execution.epoch, outcome, ran, logging=logging, now=now)
        return await self._log.record([execution], meta=ended.meta, contents=contents, gives_back=ended.slot)

    async def now(self, execution: Execution, outcome: Outcome | None = None) -> datetime:
        """Return the database's time if the outcome may lead to a retry, since the database's time wakes retries."""
        if execution.retries is None or (outcome is not None and succeeded(outcome)):
            return datetime.now(UTC)
        return await self._log.database.now()


def decide(
    execution: Execution, epoch: int, outcome: Outcome, ran: RunRecord | None, *, logging: bool, now: datetime
) -> list[Content]:
    """Decide the execution's end or next attempt, and return the contents to append with the event.

    A claim that no longer holds the run decides nothing. The output of a canceled run is kept. `ran` is None for a run
    that could not begin.
    """
    logs = truncated(outcome.logs, "Logs").encode() if logging else b""
    errors = truncated(outcome.errors, "Errors").encode() if logging else b""
    headers = stored_headers(outcome.headers, KEPT_RESPONSE_HEADERS)
    outputs: dict[str, Any] = {
        "logs_digest": digest(logs),
        "logs_size": len(logs),
        "errors_digest": digest(errors),
        "errors_size": len(errors),
        "whole": [CompleteOutput(kind=whole.kind, digest=whole.digest, size=whole.size) for whole in outcome.whole],
    }
    if ran is not None and succeeded(outcome):
        recorded = execution.complete(epoch, status_code=outcome.status_code, headers=headers, ran=ran, **outputs)
    else:
        recorded = execution.fail(
            epoch,
            outcome.reason or "error",
            outcome.message,
            now=now,
            status_code=outcome.status_code,
            headers=headers,
            ran=ran,
            **outputs,
        )
    if not recorded and not ((logs or errors) and execution.keep_output(epoch, **outputs)):
        return []
    return [
        *(Content(execution.id, kind, data) for kind, data in ((LOGS, logs), (ERRORS, errors)) if data),
        *(
            Content(execution.id, WHOLE.format(whole.kind), Blob(whole.key, whole.size, whole.digest))
            for whole in outcome.whole
        ),
    ]


def used(prepared: Prepared, outcome: Outcome) -> RunRecord:
    """Return the part of the outcome's event that says which code ran, on which instance and for how long."""
    context = prepared.context
    return RunRecord(
        deployment_id=deployment_of(context).deployment_id,
        function_version=context.version,
        environment_digest=prepared.environment.digest,
        specification=context.specification().slug,
        cold=outcome.cold,
        host=outcome.host,
        queue_ms=_milliseconds(outcome.queue_seconds),
        start_ms=_milliseconds(outcome.start_seconds),
        run_ms=_milliseconds(outcome.run_seconds),
        routed=context.routed,
    )


def without_output(ended: EndedRun, error: BlobError) -> EndedRun:
    """Return the ended run without its output, which the blob store did not take: the run has to end all the same."""
    outcome = msgspec.structs.replace(ended.outcome, logs="", errors=f"The output could not be kept: {error}")
    return msgspec.structs.replace(ended, outcome=outcome)


def _log_refused(ended: EndedRun) -> None:
    log.info("outcome_refused", execution=ended.execution.id, epoch=ended.execution.epoch)


def _key(execution: Execution) -> Any:
    return Execution.key(execution.project_id, execution.execution_id)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
