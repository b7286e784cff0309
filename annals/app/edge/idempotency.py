"""`Idempotency-Key`: a request that is sent again because its answer was lost is not carried out again.

The states of a key: `annals.store.coordination.idempotency`.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from annals.app.edge.answers import Answer
from annals.app.edge.call import Call
from annals.app.edge.declared import Creation
from annals.app.edge.error_answers import domain_error_answer
from annals.app.errors import (
    IdempotencyAnswerNotKept,
    IdempotencyBudgetSpent,
    IdempotencyKeyReused,
    SynchronousTimeout,
    UnreadableReply,
)
from annals.app.identity.caller import Caller
from annals.capacity.limiter import decrement
from annals.domain.errors import ArgumentInvalid, Conflict, DomainError
from annals.settings import Settings
from annals.store.content.blobs import BlobError
from annals.store.coordination.idempotency import (
    Allowance,
    AnswerNotStored,
    BudgetSpent,
    InProgress,
    KeyedRequest,
    KeyReused,
    Reserved,
    StoredAnswer,
)
from annals.store.errors import StoreError
from annals.store.ids import generate_id

Handler = Callable[[Call], Awaitable[Answer]]

LONGEST_KEY = 255
USER_ANSWER_BYTES = 64 * 1024
GUEST_ANSWER_BYTES = 16 * 1024
"""The longest stored answers for users and guests. API keys get more: anyone can become a user or a guest."""

HELD_BACK_SECONDS = 0.5
MOST_HELD_BACK = 64
"""Errors that one process delays for a project at the same time; further ones are sent at once."""

_REPLAYED = (b"idempotent-replayed", b"true")
_NOT_KEPT = (b"idempotent-body", b"not-kept")
_PAUSE = 0.05
_SLACK = 5.0
_CARRIED_OUT = (SynchronousTimeout, UnreadableReply)
"""Errors after the request was carried out: they are its answer, and are stored as such."""

_held_back: Counter[str] = Counter()
"""Requests whose error is delayed, by project."""

log = structlog.get_logger(__name__)


async def once(call: Call, handler: Handler, creation: Creation) -> Answer:
    """Return the answer of a create operation that runs once for each idempotency key.

    Asynchronous executions are answered with 202 in any case.
    """
    if call.is_dry_run or not call.header(b"idempotency-key"):
        return await handler(call)
    if call.values.get("async"):
        creation = creation._replace(status=202)
    return await carried_out_once(call, handler, creation, request=call.values, own_id=generate_id())


async def carried_out_once(call: Call, handler: Handler, creation: Creation, *, request: Any, own_id: str) -> Answer:
    """Return the answer of `handler`, or its answer to an equal `request` before. Without a key it is just called.

    The created resource gets `call.new_id()`, which is `own_id` unless an earlier attempt reserved another id. Raises
    IdempotencyKeyReused, IdempotencyBudgetSpent, IdempotencyAnswerNotKept, ArgumentInvalid for a malformed key,
    Conflict if the earlier attempt takes too long.
    """
    key = call.header(b"idempotency-key")
    call.reserved_id = own_id
    if call.is_dry_run or not key:
        return await handler(call)
    if len(key) > LONGEST_KEY or not key.isprintable():
        raise ArgumentInvalid(f"The Idempotency-Key header takes at most {LONGEST_KEY} printable characters.")
    reservation = await _reserve(call, await _keyed_request(call, key, request))
    if isinstance(reservation, StoredAnswer):
        call.answer_headers.append(_REPLAYED)
        return Answer(reservation.status, reservation.body, reservation.headers)
    if isinstance(reservation, AnswerNotStored):
        return await _read_again(call, reservation, creation)
    call.reserved_id = reservation.resource_id
    answer = await _carry_out(call, reservation, creation, handler)
    await _store(call, reservation, answer)
    return answer


async def _keyed_request(call: Call, key: str, request: Any) -> KeyedRequest:
    """Return the request with its key, which belongs to the caller; a guest is identified by address.

    An ephemeral key shares the keys of its parent, since a client may renew it before it repeats a request.
    """
    caller = await call.caller()
    actor = caller.actor.partition("/")[0]
    owner = actor if caller.user_id or caller.privileged else f"{actor}@{call.address}"
    packed = msgspec.msgpack.encode([call.method, call.scope["path"], request], order="deterministic", enc_hook=str)
    digest = hashlib.sha256(packed).hexdigest()
    fingerprint = await call.services.vault.fingerprint(call.project_id, digest)
    return KeyedRequest(call.project_id, owner, key, fingerprint, allowance(call.services.settings, caller))


def allowance(settings: Settings, caller: Caller) -> Allowance:
    """Return how many keys callers of this kind may hold, and how long their stored answers may be.

    Each kind has a pool of its own, so guests and users never use up the keys of a project's servers.
    """
    answer = settings.idempotency_answer_bytes
    keys = settings.idempotency_keys
    of_caller = settings.idempotency_caller_keys
    if caller.privileged:
        return Allowance("keys", keys, settings.idempotency_bytes, 0, answer)
    if caller.user_id:
        return Allowance("users", keys, settings.idempotency_bytes, of_caller, min(answer, USER_ANSWER_BYTES))
    return Allowance("guests", settings.idempotency_guest_keys, 0, of_caller, min(answer, GUEST_ANSWER_BYTES))


def _budget_error(request: KeyedRequest, spent: BudgetSpent) -> IdempotencyBudgetSpent:
    pool_keys = "ANNALS_IDEMPOTENCY_GUEST_KEYS" if request.allowance.pool == "guests" else "ANNALS_IDEMPOTENCY_KEYS"
    setting = {"keys": pool_keys, "bytes": "ANNALS_IDEMPOTENCY_BYTES", "of_caller": "ANNALS_IDEMPOTENCY_CALLER_KEYS"}
    return IdempotencyBudgetSpent(
        f"No more idempotency keys are kept: the limit of {setting[spent.bound]} is reached. Send the request without "
        f"Idempotency-Key, or try again in {spent.seconds} seconds, when the oldest key is forgotten.",
        retry_after=spent.seconds,
    )


async def _hold_back(call: Call) -> None:
    """Delay the error of a spent budget, to bound the cost of a client that sends new keys without a pause."""
    if _held_back[call.project_id] >= MOST_HELD_BACK:
        return
    if call.permit is not None:
        call.permit.end()
    _held_back[call.project_id] += 1
    try:
        await asyncio.sleep(HELD_BACK_SECONDS)
    finally:
        decrement(_held_back, call.project_id)


async def _reserve(call: Call, request: KeyedRequest) -> Reserved | StoredAnswer | AnswerNotStored:
    """Wait while another request with the key is in progress, for as long as an answer may take."""
    services = call.services
    deadline = asyncio.get_running_loop().time() + services.settings.sync_wait_s + _SLACK
    while True:
        try:
            reservation = await services.idempotency.reserve(request, services.holder(), call.reserved_id)
        except KeyReused:
            raise IdempotencyKeyReused from None
        except BudgetSpent as spent:
            await _hold_back(call)
            raise _budget_error(request, spent) from None
        if not isinstance(reservation, InProgress):
            return reservation
        if asyncio.get_running_loop().time() > deadline:
            raise Conflict("The first request with this idempotency key is still being answered. Try again.")
        await asyncio.sleep(_PAUSE)


async def _carry_out(call: Call, reserved: Reserved, creation: Creation, handler: Handler) -> Answer:
    """Return what an earlier attempt created, or create it."""
    keys = call.services.idempotency
    try:
        created = await _read_created(call, reserved.resource_id, creation) if reserved.taken_over else None
        return created or await handler(call)
    except _CARRIED_OUT as error:
        return domain_error_answer(error)
    except Conflict:
        keys.release(reserved)
        raise
    except DomainError:
        await keys.free(reserved)
        raise
    except BaseException:  # whether anything was recorded is not known
        keys.release(reserved)
        raise


async def _read_created(call: Call, resource_id: str, creation: Creation) -> Answer | None:
    """Return the resource that an earlier attempt created, as it is now; None if it created none."""
    values = call.values
    call.values = {**values, creation.names: resource_id}
    try:
        answer: Answer = await creation.read.call_with(call)
    except DomainError:
        call.values = values
        return None
    answer.status = creation.status
    call.answer_headers.append(_REPLAYED)
    return answer


async def _read_again(call: Call, earlier: AnswerNotStored, creation: Creation) -> Answer:
    """Return the created resource, as it is now. Raises IdempotencyAnswerNotKept if its caller cannot read it."""
    answer = await _read_created(call, earlier.resource_id, creation)
    if answer is None:
        raise IdempotencyAnswerNotKept(
            f"This request was carried out before and created {earlier.resource_id}. "
            "Its answer was too long to be kept, and there is nothing that you can read in its place."
        )
    call.answer_headers.append(_NOT_KEPT)
    return answer


async def _store(call: Call, reserved: Reserved, answer: Answer) -> None:
    """Store the answer. If that fails the request is done all the same: a repeat finds what it created."""
    keys = call.services.idempotency
    try:
        await keys.store_answer(reserved, StoredAnswer(answer.status, answer.headers, answer.body))
    except (StoreError, BlobError) as error:
        log.warning("answer_not_remembered", error=str(error))
        keys.release(reserved)
    except BaseException:
        keys.release(reserved)
        raise
