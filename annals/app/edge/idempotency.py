"""`Idempotency-Key`: a request that is sent again, since its answer was lost, is not carried out again."""

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
from annals.app.edge.errors import (
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
from annals.store.coordination.idempotency import Allowance, Asked, BudgetSpent, KeyReused, Remembered, Reserved, Unkept
from annals.store.errors import StoreError
from annals.store.ids import generate_id

Handler = Callable[[Call], Awaitable[Answer]]

LONGEST_KEY = 255
USER_ANSWER_BYTES, GUEST_ANSWER_BYTES = 64 * 1024, 16 * 1024
"""Longest answers that are kept for users and guests, who cost nothing to be made: a project's own keys get more."""

HELD_BACK_SECONDS = 0.5
MOST_HELD_BACK = 64
"""Requests of a project whose refusal one process holds back at once: the others are told at once."""

_REPLAYED = (b"idempotent-replayed", b"true")
_NOT_KEPT = (b"idempotent-body", b"not-kept")
_PAUSE = 0.05
_SLACK = 5.0
_CARRIED_OUT = (SynchronousTimeout, UnreadableReply)
"""Refusals that come after the deed: they are its answer, and are remembered as such."""

_held_back: Counter[str] = Counter()
"""Requests whose refusal waits, by project."""

log = structlog.get_logger(__name__)


async def once(call: Call, handler: Handler, creation: Creation) -> Answer:
    """Return the answer of a create operation that runs once for each idempotency key.

    Asynchronous executions are answered with 202 whatever `creation` says.
    """
    if call.is_dry_run or not call.header(b"idempotency-key"):
        return await handler(call)
    if call.values.get("async"):
        creation = creation._replace(status=202)
    return await carried_out_once(call, handler, creation, request=call.values, own_id=generate_id())


async def carried_out_once(call: Call, handler: Handler, creation: Creation, *, request: Any, own_id: str) -> Answer:
    """What `handler` answers, or answered to the same `request` before; without a key it is just carried out.

    What it creates is to have `call.new_id()`, which is `own_id` unless a former try had reserved another one.
    Raises IdempotencyKeyReused, IdempotencyBudgetSpent, IdempotencyAnswerNotKept, ArgumentInvalid for a key out of
    form, Conflict when the former try takes too long.
    """
    key = call.header(b"idempotency-key")
    call.reserved_id = own_id
    if call.is_dry_run or not key:
        return await handler(call)
    if len(key) > LONGEST_KEY or not key.isprintable():
        raise ArgumentInvalid(f"The Idempotency-Key header takes at most {LONGEST_KEY} printable characters.")
    asked = await _asked(call, key, request)
    begun = await _begin(call, asked)
    if isinstance(begun, Remembered):
        call.answer_headers.append(_REPLAYED)
        return Answer(begun.status, begun.body, begun.headers)
    if isinstance(begun, Unkept):
        return await _read_again(call, begun, creation)
    call.reserved_id = begun.resource_id
    answer = await _answered(call, begun, creation, handler)
    await _remember(call, begun, answer)
    return answer


async def _asked(call: Call, key: str, request: Any) -> Asked:
    """Keys are their caller's own; guests are told apart by their address.

    An ephemeral key shares those of its parent, since a client that repeats a request may have renewed it meanwhile.
    """
    caller = await call.caller()
    actor = caller.actor.partition("/")[0]
    who = actor if caller.user_id or caller.privileged else f"{actor}@{call.address}"
    packed = msgspec.msgpack.encode([call.method, call.scope["path"], request], order="deterministic", enc_hook=str)
    digest = hashlib.sha256(packed).hexdigest()
    fingerprint = await call.services.vault.fingerprint(call.project_id, digest)
    return Asked(call.project_id, who, key, fingerprint, allowance(call.services.settings, caller))


def allowance(settings: Settings, caller: Caller) -> Allowance:
    """How many keys callers of this kind may hold, and how long an answer is kept for them.

    Each kind has a pool of its own: guests and users never use up what a project's own servers need.
    """
    answer, keys, of_caller = (
        settings.idempotency_answer_bytes,
        settings.idempotency_keys,
        settings.idempotency_caller_keys,
    )
    if caller.privileged:
        return Allowance("keys", keys, settings.idempotency_bytes, 0, answer)
    if caller.user_id:
        return Allowance("users", keys, settings.idempotency_bytes, of_caller, min(answer, USER_ANSWER_BYTES))
    return Allowance("guests", settings.idempotency_guest_keys, 0, of_caller, min(answer, GUEST_ANSWER_BYTES))


def _spent(asked: Asked, spent: BudgetSpent) -> IdempotencyBudgetSpent:
    pool_keys = "ANNALS_IDEMPOTENCY_GUEST_KEYS" if asked.allowance.pool == "guests" else "ANNALS_IDEMPOTENCY_KEYS"
    setting = {"keys": pool_keys, "bytes": "ANNALS_IDEMPOTENCY_BYTES", "of_caller": "ANNALS_IDEMPOTENCY_CALLER_KEYS"}
    return IdempotencyBudgetSpent(
        f"No more idempotency keys are kept: the limit of {setting[spent.bound]} is reached. Send the request without "
        f"Idempotency-Key, or try again in {spent.seconds} seconds, when the oldest key is forgotten.",
        retry_after=spent.seconds,
    )


async def _hold_back(call: Call) -> None:
    """Wait before a spent budget is told: a caller who sends new keys without a pause takes little of the host then."""
    if _held_back[call.project_id] >= MOST_HELD_BACK:
        return
    if call.permit is not None:
        call.permit.end()
    _held_back[call.project_id] += 1
    try:
        await asyncio.sleep(HELD_BACK_SECONDS)
    finally:
        decrement(_held_back, call.project_id)


async def _begin(call: Call, asked: Asked) -> Reserved | Remembered | Unkept:
    """Wait while another request with the key is being answered, for as long as an answer may take."""
    services = call.services
    deadline = asyncio.get_running_loop().time() + services.settings.sync_wait_s + _SLACK
    while True:
        try:
            begun = await services.idempotency.reserve(asked, services.holder(), call.reserved_id)
        except KeyReused:
            raise IdempotencyKeyReused from None
        except BudgetSpent as spent:
            await _hold_back(call)
            raise _spent(asked, spent) from None
        if begun is not None:
            return begun
        if asyncio.get_running_loop().time() > deadline:
            raise Conflict("The first request with this idempotency key is still being answered. Try again.")
        await asyncio.sleep(_PAUSE)


async def _answered(call: Call, begun: Reserved, creation: Creation, handler: Handler) -> Answer:
    """What a former try created, or what is created now."""
    keys = call.services.idempotency
    try:
        made = await _made_before(call, begun.resource_id, creation) if begun.again else None
        return made or await handler(call)
    except _CARRIED_OUT as refusal:
        return domain_error_answer(refusal)
    except Conflict:
        keys.let_go(begun)
        raise
    except DomainError:
        await keys.give_back(begun)
        raise
    except BaseException:  # whether anything was recorded is not known
        keys.let_go(begun)
        raise


async def _made_before(call: Call, resource_id: str, creation: Creation) -> Answer | None:
    """What a former try created, as it is now; None when it did not come that far."""
    asked_for = call.values
    call.values = {**asked_for, creation.names: resource_id}
    try:
        answer: Answer = await creation.read.call_with(call)
    except DomainError:
        call.values = asked_for
        return None
    answer.status = creation.status
    call.answer_headers.append(_REPLAYED)
    return answer


async def _read_again(call: Call, begun: Unkept, creation: Creation) -> Answer:
    """What the request created, as it is now. Raises IdempotencyAnswerNotKept when its caller cannot read it."""
    answer = await _made_before(call, begun.resource_id, creation)
    if answer is None:
        raise IdempotencyAnswerNotKept(
            f"This request was carried out before and created {begun.resource_id}. "
            "Its answer was too long to be kept, and there is nothing that you can read in its place."
        )
    call.answer_headers.append(_NOT_KEPT)
    return answer


async def _remember(call: Call, begun: Reserved, answer: Answer) -> None:
    """When that fails, the deed is done all the same: a repeat finds what was created."""
    keys = call.services.idempotency
    try:
        await keys.remember(begun, Remembered(answer.status, answer.headers, answer.body))
    except (StoreError, BlobError) as error:
        log.warning("answer_not_remembered", error=str(error))
        keys.let_go(begun)
    except BaseException:
        keys.let_go(begun)
        raise
