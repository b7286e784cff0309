"""Running a function while its caller waits: the request is recorded while the code runs, or at once with its end."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from annals.app.edge.call import Call
from annals.app.edge.errors import SynchronousTimeout
from annals.app.executions.coalescing import ends_at_once
from annals.app.executions.finished import Finished, finished
from annals.app.executions.recording import CarriedOut, settle_later, settled
from annals.app.identity.caller import Caller
from annals.application.executions.context import NO_VARIABLES, Context, Prepared
from annals.application.executions.runs import QUEUE_SECONDS, build_run, deployment_of, key_of_code
from annals.application.executions.runs import Call as FunctionCall
from annals.capacity.fair_queue import Permit
from annals.domain.execution import Execution, Request
from annals.domain.invocation import KEPT_REQUEST_HEADERS, kept, laid_over, platform_headers
from annals.domain.ports import UNANSWERED_STATUS, Executor, ExecutorUnavailable, ExecutorUnreachable, Outcome, Run
from annals.store.errors import StoreUnavailable, VariableUnreadable
from annals.store.log.log import Meta
from annals.store.log.request import ConcurrencySlot
from annals.store.secrets.tokens import ephemeral_key, user_token

log = structlog.get_logger(__name__)

KEY_SLACK = 60
"""Seconds that the key which code is handed outlives its timeout."""

RESTART_SECONDS, RESTART_PAUSE = 5.0, 0.1
"""How long a caller waits for an executor that cannot be reached: longer than one takes to be started again."""

_NOT_RECORDED = Outcome(
    status_code=UNANSWERED_STATUS,
    reason="worker_lost",
    message="The event store was away as it began, so it was stopped. Run it again.",
)

STOPPED_SECONDS = 5.0
"""How long it may take until a run that was stopped has told what it wrote."""


async def run_now(call: Call, context: Context) -> Finished:
    """Run a ready function and wait for it.

    Raises Busy or RateLimited where too many wait already, or it would not begin soon, with nothing recorded, and
    SynchronousTimeout after the instance's longest wait; the execution is recorded as failed then.
    """
    concurrency = context.policy.scaling.concurrency
    with call.services.call_limiter.admitted(context.project_id, context.function_id, concurrency):
        return await _run(call, context)


async def _run(call: Call, context: Context) -> Finished:
    """Run the call under two permits, before and after its code runs; a short call needs one."""
    fair_queue = call.services.fair_queue
    async with fair_queue.resume(call.permit, context.project_id, seconds=QUEUE_SECONDS) as permit:
        ran = await _carry_out(call, context, permit)
        if not permit.ended:  # nothing is recorded yet, so it waits for no other's turn
            return await _conclude(call, ran)
    async with fair_queue.permit(context.project_id):
        return await _conclude(call, ran)


async def _conclude(call: Call, ran: CarriedOut) -> Finished:
    recorded = await settled(call, ran)
    if ran.timed_out:
        raise SynchronousTimeout
    return await finished(call, ran.execution, ran.outcome, recorded, logging=ran.prepared.context.logging)


async def _carry_out(call: Call, context: Context, permit: Permit) -> CarriedOut:
    """Prepare and run it; the permit ends as soon as the process only waits."""
    services = call.services
    caller = await call.caller()
    execution_id = call.new_id()
    context = await routed(call, context, execution_id)
    meta = await call.meta()
    try:
        prepared = await services.environments.of(context)
    except VariableUnreadable as error:
        outcome = Outcome(status_code=UNANSWERED_STATUS, reason="variable_unreadable", message=str(error))
        execution = _accepted(call, context, execution_id, caller)
        return CarriedOut(Prepared(context, NO_VARIABLES), execution, outcome, timed_out=False, meta=meta)
    context = prepared.context
    execution = _accepted(call, context, execution_id, caller)
    run = await _run_of(call, prepared, execution, caller)
    try:
        if run.concurrency:
            permit.end()
            execution, waited = await _placed(call, lambda: _accepted(call, context, execution_id, caller), meta)
        else:
            waited = 0.0
        outcome, timed_out = await _execute(call, run, execution, meta, permit)
    except StoreUnavailable:  # whether it is recorded as begun is not known
        settle_later(call, CarriedOut(prepared, execution, _NOT_RECORDED, timed_out=False, meta=meta))
        raise
    if waited:
        outcome = msgspec.structs.replace(outcome, queue_seconds=outcome.queue_seconds + waited)
    return CarriedOut(prepared, execution, outcome, timed_out, meta)


async def _run_of(call: Call, prepared: Prepared, execution: Execution, caller: Caller) -> Run:
    """What the executor is told, with a key and a token that last as long as the code may run."""
    services, values, context = call.services, call.values, prepared.context
    secret = await services.signing_secret(call.project_id)
    expires = services.now().timestamp() + context.timeout + KEY_SLACK
    claims = key_of_code(context, expires=expires, child=f"execution:{execution.execution_id}", depth=caller.depth)
    key = ephemeral_key(claims, secret, prefix=call.api_version.key_prefix)
    return build_run(
        prepared,
        FunctionCall(
            execution_id=execution.execution_id,
            epoch=execution.epoch,
            trigger="http",
            method=values["method"],
            path=values["path"],
            headers=values["headers"],
            body=values["body"],
            key=key,
            user_id=caller.user_id,
            user_jwt=await _user_token(call, caller, expires),
            client_ip=call.address,
        ),
        start_seconds=float(services.settings.start_timeout_s),
    )


async def _user_token(call: Call, caller: Caller, expires: float) -> str:
    """What lets the code act as its caller; empty for keys, guests and who came with such a token."""
    session_id = caller.session_of_token()
    if session_id is None:
        return ""
    secret = await call.services.token_secret(call.project_id)
    return user_token(caller.user_id, session_id, incarnation=caller.incarnation, expires=expires, secret=secret)


async def routed(call: Call, context: Context, execution_id: str) -> Context:
    """The function with the deployment that runs this execution: one that was asked for stays."""
    return context if "deploymentId" in call.values else await call.services.environments.routed(context, execution_id)


def request(
    call: Call, context: Context, *, execution_id: str, user_id: str, worker: str = "", **recorded_events: Any
) -> Execution:
    """A new execution of the context's deployment; with a `worker` that runs it at once."""
    values = call.values
    sent = laid_over(values["headers"], platform_headers(execution_id="", key="", trigger="", client_ip=call.address))
    return Execution.request_run(
        None,
        project_id=call.project_id,
        function_id=context.function_id,
        function_incarnation=context.incarnation,
        function_version=context.version,
        execution_id=execution_id,
        deployment_id=deployment_of(context).deployment_id,
        trigger="schedule" if recorded_events.get("scheduled_at") else "http",
        request=Request(
            method=values["method"],
            path=values["path"],
            headers=kept(sent, KEPT_REQUEST_HEADERS),
            user_id=user_id,
            input_digest=recorded_events.pop("input_digest", ""),
            input_size=recorded_events.pop("input_size", 0),
        ),
        worker=worker,
        retries=None if worker else context.policy.retries_of_calls,
        pinned="deploymentId" in values,
        **recorded_events,
    )


def _accepted(call: Call, context: Context, execution_id: str, caller: Caller) -> Execution:
    """The execution that this process runs at once."""
    holder = call.services.holder()
    return request(call, context, execution_id=execution_id, user_id=caller.user_id, worker=holder)


def _place(execution: Execution) -> ConcurrencySlot:
    return ConcurrencySlot(execution.project_id, execution.function_id)


async def _placed(call: Call, accepted: Callable[[], Execution], meta: Meta) -> tuple[Execution, float]:
    """The request, recorded with a place of its function's, and how many seconds it waited for one.

    Raises RateLimited, with nothing recorded.
    """
    services, began = call.services, time.monotonic()

    async def begin() -> Execution:
        execution = accepted()
        recorded = await services.log.record([execution], meta=meta, takes=_place(execution))
        call.seen(recorded.position)
        return execution

    execution = await services.concurrency_slots.take(_place(accepted()), begin, seconds=QUEUE_SECONDS)
    return execution, time.monotonic() - began


async def _execute(call: Call, run: Run, execution: Execution, meta: Meta, permit: Permit) -> tuple[Outcome, bool]:
    """Run it while the request is recorded, and wait for both; true where the code took too long for its caller."""
    services = call.services
    running = asyncio.create_task(_once_reached(services.executor, run))
    try:
        if not run.concurrency:
            if not call.reserved_id and await ends_at_once(running):  # who repeats a request is told of it by its id
                return running.result(), False
            call.seen((await services.log.record([execution], meta=meta)).position)
        permit.end()
        async with asyncio.timeout(services.settings.sync_wait_s):
            return await asyncio.shield(running), False
    except TimeoutError:
        await _stop(call, run.execution)
        return _overdue(services.settings.sync_wait_s, await _stopped(running)), True
    except ExecutorUnavailable as error:
        sentence = f"The executor could not be reached: {error}"
        return Outcome(status_code=UNANSWERED_STATUS, reason="runtime_unavailable", message=sentence), False
    finally:
        if not running.done():
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError, ExecutorUnavailable):
                await running


async def _stopped(running: "asyncio.Task[Outcome]") -> Outcome | None:
    """What a run that was stopped has come to; None when that isn't told soon."""
    try:
        async with asyncio.timeout(STOPPED_SECONDS):
            return await asyncio.shield(running)
    except (TimeoutError, ExecutorUnavailable):
        return None


async def _once_reached(executor: Executor, run: Run) -> Outcome:
    """Run it, on an executor that is being started again once it is back: nothing of the run has begun till then."""
    deadline = time.monotonic() + RESTART_SECONDS
    while True:
        try:
            return await executor.execute(run)
        except ExecutorUnreachable:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(RESTART_PAUSE)


async def _stop(call: Call, execution_id: str) -> None:
    try:
        await call.services.executor.cancel_execution(call.project_id, execution_id)
    except ExecutorUnavailable as error:
        log.warning("run_not_stopped", execution=execution_id, error=str(error))


def _overdue(seconds: int, stopped: Outcome | None) -> Outcome:
    """The outcome of a call whose caller waits no longer, with what the run had written until it was stopped."""
    sentence = f"Synchronous function execution timed out: no answer after {seconds} seconds."
    overdue = Outcome(status_code=UNANSWERED_STATUS, reason="timeout", message=sentence, run_seconds=float(seconds))
    if stopped is None:
        return overdue
    kept = {name: getattr(stopped, name) for name in ("logs", "errors", "whole", "cold", "instance", "host")}
    return msgspec.structs.replace(overdue, **kept)
