"""Run a function while its caller waits: the states of such a call, and what the log holds in each.

A short call is recorded in one append, request and outcome together: docs/adr/0032-one-append-for-short-calls.md.

One file because the states, their transitions and their steps are one machine.
"""

import asyncio
import contextlib
import enum
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog

from annals.application.executions.context import NO_VARIABLES, Context, Prepared
from annals.application.executions.prepare import QUEUE_SECONDS, Preparation
from annals.application.executions.record_outcome import DeferredOutcomes, EndedRun, OutcomeRecorder
from annals.application.executions.request import ExecutionRequest, new_execution, route
from annals.capacity.fair_queue import FairQueue, Permit
from annals.capacity.limiter import CallLimiter
from annals.capacity.slots import ConcurrencySlots
from annals.domain.execution import Execution
from annals.domain.ports import UNANSWERED_STATUS, Executor, ExecutorUnavailable, ExecutorUnreachable, Outcome, Run
from annals.store.errors import StoreUnavailable, VariableUnreadable
from annals.store.log.log import EventLog, Recorded
from annals.store.log.request import ConcurrencySlot

COALESCE_SECONDS = 0.005
"""How long a request waits for its outcome, so that one append records both."""

SMALL_OUTPUT = 8192
"""Most characters of output with which an outcome is recorded together with its request."""

RESTART_SECONDS, RESTART_PAUSE = 5.0, 0.1
"""How long a caller waits for an executor that cannot be reached: longer than a restart of one takes."""

STOPPED_SECONDS = 5.0
"""How long a stopped run may take to hand over its output."""

_NOT_RECORDED = Outcome(
    status_code=UNANSWERED_STATUS,
    reason="worker_lost",
    message="The event store was away as it began, so it was stopped. Run it again.",
)

log = structlog.get_logger(__name__)


class State(enum.Enum):
    """The state of a synchronous call."""

    ADMITTED = enum.auto()
    """Nothing is recorded."""
    PREPARED = enum.auto()
    """Nothing is recorded. The environment and the code's tokens are ready."""
    STARTED = enum.auto()
    """Nothing is recorded. The code runs, and its request waits a moment for a short outcome."""
    RUNNING = enum.auto()
    """The request is recorded, with its concurrency slot if the function has a limit. The code runs."""
    ENDED = enum.auto()
    """The outcome is known. The request is recorded, unless the call was short or could not begin."""
    RECORDED = enum.auto()
    """The outcome is recorded, in one append with the request where that was not recorded before."""
    DEFERRED = enum.auto()
    """The event store is away, and may hold the request. A background task records the outcome later."""


TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.ADMITTED: frozenset({State.PREPARED, State.ENDED}),
    State.PREPARED: frozenset({State.STARTED, State.RUNNING, State.DEFERRED}),
    State.STARTED: frozenset({State.RUNNING, State.ENDED, State.DEFERRED}),
    State.RUNNING: frozenset({State.ENDED, State.DEFERRED}),
    State.ENDED: frozenset({State.RECORDED, State.DEFERRED}),
    State.RECORDED: frozenset(),
    State.DEFERRED: frozenset(),
}


class FinishedCall(msgspec.Struct, frozen=True):
    """A synchronous call after its outcome was recorded; `recorded` is None if another process ended it first.

    `timed_out`: the code took longer than a caller may wait.
    """

    ended: EndedRun
    recorded: Recorded | None
    timed_out: bool


class SynchronousCalls(msgspec.Struct, frozen=True, kw_only=True):
    """Runs functions while their callers wait. `worker` names this process in the claims of its runs."""

    log: EventLog
    executor: Executor
    preparation: Preparation
    deferred: DeferredOutcomes
    call_limiter: CallLimiter
    fair_queue: FairQueue
    slots: ConcurrencySlots
    worker: str
    longest_seconds: float

    async def run(
        self, request: ExecutionRequest, context: Context, permit: Permit | None, seen: Callable[[int], None]
    ) -> FinishedCall:
        """Run a ready function and wait for it; `seen` gets the log's position of each append.

        Raises Busy or RateLimited where too many calls wait already, or this one would not begin soon, with nothing
        recorded. Raises StoreUnavailable, VariableUnreadable and as the environment does.
        """
        concurrency = context.policy.scaling.concurrency
        with self.call_limiter.admitted(context.project_id, context.function_id, concurrency):
            call = _Call(self, request, context, seen)
            async with self.fair_queue.resume(permit, context.project_id, seconds=QUEUE_SECONDS) as first:
                await call.run(first)
                if not first.ended:  # a short call: nothing is recorded yet, and one permit covers all of it
                    return await call.record()
            async with self.fair_queue.permit(context.project_id):
                return await call.record()


class _Call:
    """One synchronous call on its way through the states."""

    __slots__ = (
        "_calls", "_context", "_execution", "_outcome", "_permit", "_prepared", "_request", "_run", "_running", "_seen",
        "_timed_out", "_waited", "state",
    )  # fmt: skip

    def __init__(
        self, calls: SynchronousCalls, request: ExecutionRequest, context: Context, seen: Callable[[int], None]
    ) -> None:
        self._calls = calls
        self._request = request
        self._context = context
        self._seen = seen
        self._permit: Permit
        self._prepared: Prepared
        self._execution: Execution
        self._run: Run
        self._running: asyncio.Task[Outcome] | None = None
        self._outcome: Outcome
        self._waited = 0.0
        self._timed_out = False
        self.state = State.ADMITTED

    async def run(self, permit: Permit) -> None:
        """Go on until the call has ended; `permit` ends as soon as the process only waits."""
        self._permit = permit
        try:
            while self.state is not State.ENDED:
                self._enter(await _STEPS[self.state](self))
        except StoreUnavailable:
            await self._drop_run()
            if self.state is not State.ADMITTED:  # the log may hold the request
                self._outcome = _NOT_RECORDED
                self._timed_out = False
                self._defer()
            raise
        finally:
            await self._drop_run()

    async def record(self) -> FinishedCall:
        """Record the outcome. Raises StoreUnavailable, and then records it later."""
        ended = self._ended()
        try:
            recorded = await OutcomeRecorder(self._calls.log).record(ended)
        except StoreUnavailable:
            self._defer()
            raise
        self._enter(State.RECORDED)
        if recorded is not None:
            self._seen(recorded.position)
        return FinishedCall(ended, recorded, self._timed_out)

    def _enter(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"A synchronous call cannot go from {self.state.name} to {state.name}.")
        self.state = state

    async def _prepare(self) -> State:
        """ADMITTED: choose the deployment, and get its environment and the code's tokens."""
        preparation, request = self._calls.preparation, self._request
        context = await route(preparation.environments, request, self._context)
        try:
            self._prepared = await preparation.environments.of(context)
        except VariableUnreadable as error:
            self._prepared = Prepared(context, NO_VARIABLES)
            self._execution = self._new_execution()
            self._outcome = Outcome(status_code=UNANSWERED_STATUS, reason="variable_unreadable", message=str(error))
            return State.ENDED
        self._execution = self._new_execution()
        self._run = await preparation.build(
            self._prepared, self._execution, request.input, key_prefix=request.key_prefix
        )
        return State.PREPARED

    async def _start(self) -> State:
        """PREPARED: start the code, after a concurrency slot was taken if the function has a limit."""
        limited = bool(self._run.concurrency)
        if limited:
            self._permit.end()
            await self._take_slot()
        self._running = asyncio.create_task(_execute(self._calls.executor, self._run))
        return State.RUNNING if limited else State.STARTED

    async def _record_request(self) -> State:
        """STARTED: wait a moment for a short outcome, else record the request."""
        running = self._running
        assert running is not None  # noqa: S101 - started in the former state
        if not self._request.repeatable and await _ends_soon(running):
            self._outcome = running.result()
            return State.ENDED
        self._seen((await self._calls.log.record([self._execution], meta=self._request.meta)).position)
        return State.RUNNING

    async def _await_outcome(self) -> State:
        """RUNNING: wait for the code, at most as long as the instance lets a caller wait."""
        running, seconds = self._running, self._calls.longest_seconds
        assert running is not None  # noqa: S101 - started in a former state
        self._permit.end()
        try:
            async with asyncio.timeout(seconds):
                outcome = await asyncio.shield(running)
        except TimeoutError:
            self._timed_out = True
            await self._stop()
            outcome = _overdue(seconds, await _stopped(running))
        except ExecutorUnavailable as error:
            sentence = f"The executor could not be reached: {error}"
            outcome = Outcome(status_code=UNANSWERED_STATUS, reason="runtime_unavailable", message=sentence)
        if self._waited:
            outcome = msgspec.structs.replace(outcome, queue_seconds=outcome.queue_seconds + self._waited)
        self._outcome = outcome
        return State.ENDED

    async def _take_slot(self) -> None:
        """Record the request together with its slot. Raises RateLimited, with nothing recorded."""
        calls, began = self._calls, time.monotonic()

        async def begin() -> Execution:
            execution = self._new_execution()  # a failed append leaves its aggregate without pending events
            recorded = await calls.log.record([execution], meta=self._request.meta, takes=_slot(execution))
            self._seen(recorded.position)
            return execution

        self._execution = await calls.slots.take(_slot(self._execution), begin, seconds=QUEUE_SECONDS)
        self._waited = time.monotonic() - began

    def _new_execution(self) -> Execution:
        context = self._prepared.context
        return new_execution(self._request, context, worker=self._calls.worker)

    def _ended(self) -> EndedRun:
        limited = self._prepared.context.policy.scaling.concurrency
        return EndedRun(
            execution=self._execution,
            prepared=self._prepared,
            outcome=self._outcome,
            meta=self._request.meta,
            slot=_slot(self._execution) if limited else None,
        )

    def _defer(self) -> None:
        recorder, ended = OutcomeRecorder(self._calls.log), self._ended()
        self._calls.deferred.add(self._execution.execution_id, lambda: recorder.record_again(ended))
        self._enter(State.DEFERRED)

    async def _stop(self) -> None:
        try:
            await self._calls.executor.cancel_execution(self._run.project, self._run.execution)
        except ExecutorUnavailable as error:
            log.warning("run_not_stopped", execution=self._run.execution, error=str(error))

    async def _drop_run(self) -> None:
        """Give up a run whose call ended early."""
        running = self._running
        if running is not None and not running.done():
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError, ExecutorUnavailable):
                await running


_STEPS: Mapping[State, Callable[[_Call], Awaitable[State]]] = {
    State.ADMITTED: _Call._prepare,
    State.PREPARED: _Call._start,
    State.STARTED: _Call._record_request,
    State.RUNNING: _Call._await_outcome,
}
"""What a call does in each state; the result is the next state."""


async def _execute(executor: Executor, run: Run) -> Outcome:
    """Run the code. While the executor is being restarted the run has not begun, so it is sent again."""
    deadline = time.monotonic() + RESTART_SECONDS
    while True:
        try:
            return await executor.execute(run)
        except ExecutorUnreachable:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(RESTART_PAUSE)


async def _ends_soon(running: "asyncio.Task[Outcome]") -> bool:
    """Return True if the code answers, with little output, while its request may still wait."""
    await asyncio.wait((running,), timeout=COALESCE_SECONDS)
    if not running.done() or running.exception() is not None:
        return False
    outcome = running.result()
    return not outcome.whole and len(outcome.logs) + len(outcome.errors) <= SMALL_OUTPUT


async def _stopped(running: "asyncio.Task[Outcome]") -> Outcome | None:
    """Return the outcome of a run that was stopped, None if it does not come soon."""
    try:
        async with asyncio.timeout(STOPPED_SECONDS):
            return await asyncio.shield(running)
    except (TimeoutError, ExecutorUnavailable):
        return None


def _overdue(seconds: float, stopped: Outcome | None) -> Outcome:
    """Return the outcome of a call that took too long, with the output that the run had written by then."""
    sentence = f"Synchronous function execution timed out: no answer after {seconds:g} seconds."
    overdue = Outcome(status_code=UNANSWERED_STATUS, reason="timeout", message=sentence, run_seconds=float(seconds))
    if stopped is None:
        return overdue
    output = {name: getattr(stopped, name) for name in ("logs", "errors", "whole", "cold", "instance", "host")}
    return msgspec.structs.replace(overdue, **output)


def _slot(execution: Execution) -> ConcurrencySlot:
    return ConcurrencySlot(execution.project_id, execution.function_id)
