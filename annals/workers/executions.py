"""Executions that wait for a worker: claimed, run, and their only outcome recorded."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from annals.application.executions.context import Environments, Prepared
from annals.application.executions.outcome import settle, without_output
from annals.application.executions.runs import Call, build_run, ran
from annals.capacity.slots import BoundedFunctions
from annals.domain.commands.executions import lose_execution
from annals.domain.errors import Conflict, ExecutionNotFound
from annals.domain.execution import Execution
from annals.domain.invocation import succeeded
from annals.domain.ports import UNANSWERED_STATUS, Executor, ExecutorUnavailable, ExecutorUnreachable, Outcome, Reason
from annals.store.content.blobs import BlobError
from annals.store.content.contents import Content, Contents
from annals.store.coordination.direct_dispatch import DirectDispatch
from annals.store.coordination.process_lease import ProcessLease
from annals.store.coordination.retry import retry
from annals.store.errors import NoFreeSlot, StoreUnavailable
from annals.store.log.log import EventLog, Meta
from annals.store.log.reader import project_events
from annals.store.log.request import ConcurrencySlot
from annals.store.secrets.vault import Vault
from annals.workers.job_messages import UNKNOWN, Cause, split_stream
from annals.workers.preparation import Preparation, Refused
from annals.workers.reads import Reads

TRANSPORT_SLACK_SECONDS = 15
"""How long a run may take beyond its function's timeout (http-api.md 8.2)."""

QUEUE_SECONDS = 45.0
"""How long a claimed run may wait for its turn on a host, besides: synchronous calls may have taken all of them."""

_CLAIM_RETRY_SECONDS = 5.0

_REMEMBERED = 100
"""Knocks whose wake-up by the relay is still to come; one that is forgotten costs a read."""

Decision = Callable[[Execution], Awaitable[list[Content]]]
"""Decides an execution's end, and returns what is kept with it."""

log = structlog.get_logger(__name__)


class Claim(NamedTuple):
    """An execution that is ours, what it needs (got while the claim was recorded), and what its end follows from."""

    execution: Execution
    ready: "asyncio.Future[tuple[Prepared, Call] | Refused]"
    cause: Cause
    slot: ConcurrencySlot | None


class Executions:
    """Runs what waits. `held` are the streams whose claims this process works on."""

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
        """`executor_patience_seconds`: how long claimed work waits for an executor that cannot be reached."""
        self._log, self._process_lease, self._executor = log, process_lease, executor
        self._start_seconds, self._executor_retry = start_seconds, executor_retry_seconds
        self._reads = Reads(log)
        self._preparation = Preparation(self._reads, contents, vault, environments)
        self._bounded = BoundedFunctions(log.database)
        self.held: set[str] = set()
        self._begun: deque[Cause] = deque(maxlen=_REMEMBERED)

    async def run(self, stream: str, cause: Cause = UNKNOWN) -> None:
        """Claim an execution and run it to its end; nothing happens when it is somebody else's, or over."""
        if cause not in self._begun:
            await self._run(stream, cause, None)

    async def begin(self, direct_dispatch: DirectDispatch) -> None:
        """The same for one that was recorded a moment ago and is told whole. Raises as reading it would."""
        await self._run(
            direct_dispatch.stream, Cause(direct_dispatch.position, direct_dispatch.correlation), direct_dispatch
        )

    async def _run(self, stream: str, cause: Cause, direct_dispatch: DirectDispatch | None) -> None:
        if stream in self.held:
            return
        self.held.add(stream)
        try:
            claim = await self._claim(stream, cause, direct_dispatch)
            if claim is None:
                return
            if direct_dispatch is not None:
                self._begun.append(cause)  # the relay wakes a worker for it as well
            await self._carry_out(claim)
        finally:
            self.held.discard(stream)

    async def stop(self, stream: str, _cause: Cause = UNKNOWN) -> None:
        """Kill the run of an execution, wherever it is. Raises ExecutorUnavailable."""
        await self._executor.cancel_execution(*split_stream(stream))

    async def _claim(self, stream: str, cause: Cause, direct_dispatch: DirectDispatch | None) -> Claim | None:
        """Claim it. One whose function runs as many as it may stays `waiting`, and is woken when there is a place."""
        holder = self._process_lease.id
        told = [] if direct_dispatch is None else [self._told(direct_dispatch)]
        sealed = b"" if direct_dispatch is None else direct_dispatch.given

        async def claim() -> Claim | None:
            execution = told.pop() if told else await self._reads.execution(Execution.key(*split_stream(stream)))
            if execution is None or execution.ended or not await self._is_due(execution):
                return None
            fresh = execution.claim(holder)
            # The answer to a former append may have been lost: then it is claimed already, by this process.
            if execution.status != "processing" or execution.worker != holder:
                return None
            ready = asyncio.ensure_future(self._preparation.of(execution, sealed))
            try:
                slot = await self._bounded.slot(execution.project_id, execution.function_id)
                if not fresh:
                    return Claim(execution, ready, cause, slot)
                recorded = await self._log.record([execution], meta=self._meta(cause), takes=slot)
            except BaseException:
                ready.cancel()
                raise
            return Claim(execution, ready, cause.then(recorded.position), slot)

        try:
            return await retry(claim, seconds=_CLAIM_RETRY_SECONDS)
        except (Conflict, NoFreeSlot):
            return None  # another worker was first

    def _told(self, direct_dispatch: DirectDispatch) -> Execution | None:
        """What a knock says of an execution; that nothing has happened to it since, the append of its claim proves."""
        event = self._log.mapper.decode(
            direct_dispatch.stream, direct_dispatch.version, Execution.Requested.TOPIC, direct_dispatch.state
        )
        execution = project_events(None, [event])
        return execution if isinstance(execution, Execution) else None

    async def _carry_out(self, claim: Claim) -> None:
        try:
            prepared = await claim.ready
            outcome = None if isinstance(prepared, Refused) else await self._execute(*prepared)
        except BaseException:  # cancelled, or a fault of ours: what ran half is not run again by itself
            await asyncio.shield(self._give_up(claim))
            raise
        if isinstance(prepared, Refused):
            await self._refuse(claim, prepared)
        elif outcome is not None:
            await self._settle(claim, outcome, prepared[0])

    async def _execute(self, prepared: Prepared, call: Call) -> Outcome:
        run = build_run(prepared, call, start_seconds=self._start_seconds, queue_seconds=QUEUE_SECONDS)
        limit = prepared.context.timeout + TRANSPORT_SLACK_SECONDS + QUEUE_SECONDS

        async def execute() -> Outcome:
            async with asyncio.timeout(limit):
                return await self._executor.execute(run)

        try:
            return await retry(execute, seconds=self._executor_retry, away=ExecutorUnreachable)
        except ExecutorUnavailable as error:
            return _failed("runtime_unavailable", f"The executor could not be reached: {error}")
        except TimeoutError:
            await self._stop(Execution.stream(run.project, run.execution))
            return _failed("timeout", f"Asynchronous function execution timed out: no end after {limit} seconds.")

    async def _settle(self, claim: Claim, outcome: Outcome, prepared: Prepared) -> None:
        recorded_events, logging = ran(prepared, outcome), prepared.context.logging

        async def decide(execution: Execution) -> list[Content]:
            now = datetime.now(UTC) if succeeded(outcome) else await self._now(execution)
            return settle(execution, claim.execution.epoch, outcome, recorded_events, logging=logging, now=now)

        try:
            await self._record(claim, decide)
        except BlobError as error:
            outcome = without_output(outcome, error)
            await self._record(claim, decide, in_hand=False)

    async def _refuse(self, claim: Claim, refusal: Refused) -> None:
        epoch = claim.execution.epoch

        async def decide(execution: Execution) -> list[Content]:
            execution.fail(epoch, refusal.reason, str(refusal), now=await self._now(execution), status_code=0)
            return []

        await self._record(claim, decide)

    async def _record(self, claim: Claim, decide: Decision, *, in_hand: bool = True) -> None:
        """Record an end, for as long as it takes, deciding anew after a failure or another's event.

        A claim that is gone records none: at most what the run wrote, where it was canceled.
        """
        key = Execution.key(*split_stream(claim.execution.id))
        first = [claim.execution] if in_hand else []

        async def record() -> None:
            execution = first.pop() if first else await self._log.load(key)
            contents = await decide(execution)
            meta = self._meta(claim.cause)
            recorded = await self._log.record([execution], meta=meta, contents=contents, gives_back=claim.slot)
            if not recorded.events:
                _say_refused(claim)

        try:
            try:
                await retry(record)
            except Conflict:
                first.clear()
                await retry(record)
        except (Conflict, ExecutionNotFound):
            _say_refused(claim)

    async def _give_up(self, claim: Claim) -> None:
        execution = claim.execution
        await self._stop(execution.id)
        key = Execution.key(execution.project_id, execution.execution_id)
        try:
            now = await self._now(execution)
            await self._log.run(lose_execution, key, meta=self._meta(claim.cause), epoch=execution.epoch, now=now)
        except (StoreUnavailable, Conflict, ExecutionNotFound) as error:
            log.warning("execution_not_given_up", execution=execution.id, error=str(error))

    async def _stop(self, stream: str) -> None:
        try:
            await self.stop(stream)
        except ExecutorUnavailable as error:
            log.warning("execution_not_stopped", execution=stream, error=str(error))

    async def _is_due(self, execution: Execution) -> bool:
        """Whether it is time for the next attempt; wake-ups of former ones may still be about."""
        return execution.due_at is None or execution.due_at <= await self._now(execution)

    async def _now(self, execution: Execution) -> datetime:
        """The time that an execution's attempts go by: the database's, for it wakes them. Others need none."""
        return datetime.now(UTC) if execution.retries is None else await self._log.database.now()

    def _meta(self, cause: Cause) -> Meta:
        return cause.meta(f"worker:{self._process_lease.id}")


def _say_refused(claim: Claim) -> None:
    log.info("outcome_refused", execution=claim.execution.id, epoch=claim.execution.epoch)


def _failed(reason: Reason, message: str) -> Outcome:
    return Outcome(status_code=UNANSWERED_STATUS, reason=reason, message=message)
