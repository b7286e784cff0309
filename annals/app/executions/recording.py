"""How the end of a call is recorded by the process that ran it: now, or once the event store is there again."""

import contextlib

import msgspec

from annals.app.edge.call import Call
from annals.application.executions.context import Prepared
from annals.application.executions.outcome import settle, without_output
from annals.application.executions.runs import ran
from annals.domain.errors import Conflict, ExecutionNotFound
from annals.domain.execution import Execution
from annals.domain.ports import Outcome
from annals.store.content.blobs import BlobError
from annals.store.errors import StoreUnavailable
from annals.store.log.log import Meta, Recorded
from annals.store.log.request import ConcurrencySlot


class CarriedOut(msgspec.Struct, frozen=True):
    """A run that has come to its end, which nobody has recorded."""

    prepared: Prepared
    execution: Execution
    outcome: Outcome
    timed_out: bool
    meta: Meta


async def settled(call: Call, carried_out: CarriedOut) -> Recorded | None:
    """Record the end; None when somebody else has ended it meanwhile, by which what was written may be kept still.

    Raises StoreUnavailable, and then goes on trying.
    """
    try:
        return await _settled(call, carried_out)
    except StoreUnavailable:
        settle_later(call, carried_out)
        raise


def settle_later(call: Call, carried_out: CarriedOut) -> None:
    """Record the end of what may have been recorded as begun, once the store is there."""
    unsettled = call.services.unsettled
    unsettled.later(carried_out.execution.execution_id, lambda: _settled_as_it_is_now(call, carried_out))


async def _settled(call: Call, carried_out: CarriedOut) -> Recorded | None:
    try:
        return await _record(call, carried_out.execution, carried_out)
    except Conflict:
        await _settled_as_it_is_now(call, carried_out)
        return None
    except BlobError as error:  # of much that was written, so that the request is recorded already
        outcome = without_output(carried_out.outcome, error)
        return await _settled_as_it_is_now(call, msgspec.structs.replace(carried_out, outcome=outcome))


async def _settled_as_it_is_now(call: Call, carried_out: CarriedOut) -> Recorded | None:
    key = Execution.key(call.project_id, carried_out.execution.execution_id)
    with contextlib.suppress(Conflict, ExecutionNotFound, BlobError):
        return await _record(call, await call.services.log.load(key), carried_out)
    return None


async def _record(call: Call, execution: Execution, carried_out: CarriedOut) -> Recorded:
    """Record what the outcome means for its execution. Raises Conflict."""
    outcome, context = carried_out.outcome, carried_out.prepared.context
    recorded_events, now = ran(carried_out.prepared, outcome), call.services.now()
    contents = settle(
        execution, carried_out.execution.epoch, outcome, recorded_events, logging=context.logging, now=now
    )
    place = ConcurrencySlot(execution.project_id, execution.function_id) if context.policy.scaling.concurrency else None
    recorded = await call.services.log.record([execution], meta=carried_out.meta, contents=contents, gives_back=place)
    call.seen(recorded.position)
    return recorded
