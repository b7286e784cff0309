"""Run waiting executions: claim each, run it, and record its only outcome."""

import asyncio
from collections import deque
from typing import NamedTuple

import structlog

from annals.application.executions.claimed import QUEUE_SECONDS, CannotRun, ClaimPreparation, ExecutionReads
from annals.application.executions.context import Environments, Prepared
from annals.application.executions.record_outcome import EndedRun, OutcomeRecorder
from annals.capacity.slots import BoundedFunctions
from annals.domain.commands.executions import lose_execution
from annals.domain.errors import Conflict, ExecutionNotFound
from annals.domain.execution import Execution
from annals.domain.ports import (
    UNANSWERED_STATUS,
    Executor,
    ExecutorUnavailable,
    ExecutorUnreachable,
    Outcome,
    Reason,
    Run,
)
from annals.store.content.contents import Contents
from annals.store.coordination.direct_dispatch import DirectDispatch
from annals.store.coordination.leases import ProcessLease
from annals.store.coordination.retry import retry
from annals.store.errors import NoFreeSlot, StoreUnavailable
from annals.store.log.log import EventLog, Meta
from annals.store.log.reader import project_events
from annals.store.log.request import ConcurrencySlot
from annals.store.secrets.vault import Vault
from annals.workers.job_messages import UNKNOWN, Cause, split_stream

TRANSPORT_SLACK_SECONDS = 15
"""How long a run may take beyond its function's timeout (http-api.md 8.2)."""

_CLAIM_RETRY_SECONDS = 5.0

_REMEMBERED = 100
"""Direct dispatches whose job message from the relay is still to come; a forgotten one costs a read."""

log = structlog.get_logger(__name__)


class ExecutionClaim(NamedTuple):
    """An execution of this process, its preparation (which began with the claim), and the cause of its outcome."""

    execution: Execution
    ready: "asyncio.Future[tuple[Prepared, Run] | CannotRun]"
    cause: Cause
    slot: ConcurrencySlot | None


class ExecutionActor:
    """Runs waiting executions. `claimed` are the streams whose claims this process works on."""

    def __init__(
        self,
        log: EventLog,
        *,
        process_lease: ProcessLease,
        contents: Contents,
        vault: Vault,
        environments: Environments,
        executor: Executor,
        start_seconds: float,
        executor_retry_seconds: float = 15.0,
    ) -> None:
        """`executor_retry_seconds`: how long claimed work waits for an executor that cannot be reached."""
        self._log = log
        self._process_lease = process_lease
        self._executor = executor
        self._executor_retry = executor_retry_seconds
        self._reads = ExecutionReads(log)
        self._preparation = ClaimPreparation(self._reads, contents, vault, environments, start_seconds=start_seconds)
        self._recorder = OutcomeRecorder(log)
        self._bounded = BoundedFunctions(log.database)
        self.claimed: set[str] = set()
        self._begun: deque[Cause] = deque(maxlen=_REMEMBERED)

    async def run(self, stream: str, cause: Cause = UNKNOWN) -> None:
        """Claim an execution and run it to its end; do nothing if another process holds it, or it has ended."""
        if cause not in self._begun:
            await self._run(stream, cause, None)

    async def begin(self, direct_dispatch: DirectDispatch) -> None:
        """Run an execution that was recorded a moment ago, and that the dispatch holds whole. Raises as reads do."""
        await self._run(
            direct_dispatch.stream, Cause(direct_dispatch.position, direct_dispatch.correlation), direct_dispatch
        )

    async def _run(self, stream: str, cause: Cause, direct_dispatch: DirectDispatch | None) -> None:
        if stream in self.claimed:
            return
        self.claimed.add(stream)
        try:
            claim = await self._claim(stream, cause, direct_dispatch)
            if claim is None:
                return
            if direct_dispatch is not None:
                self._begun.append(cause)  # the relay sends a job message for it as well
            await self._carry_out(claim)
        finally:
            self.claimed.discard(stream)

    async def stop(self, stream: str, _cause: Cause = UNKNOWN) -> None:
        """Kill the run of an execution, wherever it is. Raises ExecutorUnavailable."""
        await self._executor.cancel_execution(*split_stream(stream))

    async def _claim(self, stream: str, cause: Cause, direct_dispatch: DirectDispatch | None) -> ExecutionClaim | None:
        """Claim an execution; None if it cannot run here now.

        An execution whose function runs at its limit stays `waiting`, and gets a job message when a slot is free.
        """
        holder = self._process_lease.id
        dispatched = [] if direct_dispatch is None else [self._dispatched(direct_dispatch)]
        sealed = b"" if direct_dispatch is None else direct_dispatch.input

        async def claim() -> ExecutionClaim | None:
            if dispatched:
                execution = dispatched.pop()
            else:
                execution = await self._reads.execution(Execution.key(*split_stream(stream)))
            if execution is None or execution.ended or not await self._is_due(execution):
                return None
            fresh = execution.claim(holder)
            # The answer to a former append may have been lost: then it is claimed already, by this process.
            if execution.status != "processing" or execution.worker != holder:
                return None
            ready = asyncio.ensure_future(self._preparation.prepare(execution, sealed))
            try:
                slot = await self._bounded.slot(execution.project_id, execution.function_id)
                if not fresh:
                    return ExecutionClaim(execution, ready, cause, slot)
                recorded = await self._log.record([execution], meta=self._meta(cause), takes=slot)
            except BaseException:
                ready.cancel()
                raise
            return ExecutionClaim(execution, ready, cause.then(recorded.position), slot)

        try:
            return await retry(claim, seconds=_CLAIM_RETRY_SECONDS)
        except (Conflict, NoFreeSlot):
            return None  # another worker was first

    def _dispatched(self, direct_dispatch: DirectDispatch) -> Execution | None:
        """Return the execution that a dispatch holds; the append of its claim proves that it did not change since."""
        event = self._log.mapper.decode(
            direct_dispatch.stream, direct_dispatch.version, Execution.Requested.TOPIC, direct_dispatch.state
        )
        execution = project_events(None, [event])
        return execution if isinstance(execution, Execution) else None

    async def _carry_out(self, claim: ExecutionClaim) -> None:
        try:
            ready = await claim.ready
            if isinstance(ready, CannotRun):
                prepared, outcome = None, Outcome(status_code=0, reason=ready.reason, message=str(ready))
            else:
                prepared, outcome = ready[0], await self._execute(ready[1])
        except BaseException:  # cancelled, or a fault of ours: half a run is not repeated by itself
            await asyncio.shield(self._give_up(claim))
            raise
        await self._recorder.record_persistently(
            EndedRun(
                execution=claim.execution,
                prepared=prepared,
                outcome=outcome,
                meta=self._meta(claim.cause),
                slot=claim.slot,
            )
        )

    async def _execute(self, run: Run) -> Outcome:
        limit = run.run_seconds + TRANSPORT_SLACK_SECONDS + QUEUE_SECONDS

        async def execute() -> Outcome:
            async with asyncio.timeout(limit):
                return await self._executor.execute(run)

        try:
            return await retry(execute, seconds=self._executor_retry, away=ExecutorUnreachable)
        except ExecutorUnavailable as error:
            return _failed("runtime_unavailable", f"The executor could not be reached: {error}")
        except TimeoutError:
            await self._try_to_stop(Execution.stream(run.project, run.execution))
            return _failed("timeout", f"Asynchronous function execution timed out: no end after {limit} seconds.")

    async def _give_up(self, claim: ExecutionClaim) -> None:
        execution = claim.execution
        await self._try_to_stop(execution.id)
        key = Execution.key(execution.project_id, execution.execution_id)
        try:
            now = await self._recorder.now(execution)
            await self._log.run(lose_execution, key, meta=self._meta(claim.cause), epoch=execution.epoch, now=now)
        except (StoreUnavailable, Conflict, ExecutionNotFound) as error:
            log.warning("execution_not_given_up", execution=execution.id, error=str(error))

    async def _try_to_stop(self, stream: str) -> None:
        try:
            await self.stop(stream)
        except ExecutorUnavailable as error:
            log.warning("execution_not_stopped", execution=stream, error=str(error))

    async def _is_due(self, execution: Execution) -> bool:
        """Return True if the next attempt may begin; job messages of former attempts may still be on their way."""
        return execution.due_at is None or execution.due_at <= await self._recorder.now(execution)

    def _meta(self, cause: Cause) -> Meta:
        return cause.meta(f"worker:{self._process_lease.id}")


def _failed(reason: Reason, message: str) -> Outcome:
    return Outcome(status_code=UNANSWERED_STATUS, reason=reason, message=message)
