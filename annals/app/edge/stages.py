"""The stages of a request in the contract's order: guards that judge the caller, then stages around the handler.

Litestar runs the guards before it calls an operation. A read with a credential that was valid lately starts together
with the lookup of its caller. Its guards judge nothing; `judge_after_reading` judges before the answer is sent.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial, reduce
from typing import Any

from litestar.connection import ASGIConnection

from annals.app.edge import idempotency
from annals.app.edge.call import Call
from annals.app.edge.declared import Declared
from annals.app.edge.dry_run import answer_dry_run
from annals.app.errors import AccessForbidden
from annals.app.identity.caller import GUEST, Caller
from annals.app.identity.credentials import KEY_VOID
from annals.app.identity.scopes import EVENTS_READ, require_any
from annals.application.executions.prepare import QUEUE_SECONDS
from annals.domain.errors import Conflict, DomainError
from annals.store.errors import DataKeyDeleted, DataKeyReplaced, ProjectReplaced

Handler = Callable[[Call], Awaitable[Any]]
Connection = ASGIConnection[Any, Any, Any, Any]

READING = frozenset({"GET", "HEAD"})

LONGEST_LOGGED_ID = 64
"""Characters of a project's id that log lines carry: longer ones name no project."""

READS_AT_ONCE = 4
"""Reads of a project that start at once although other projects call too: they share a pipeline."""

LONGEST_PERMIT_SECONDS = 0.25
"""A request gives its permit back after this time: it waits for something else, and other requests may start."""


async def identify(connection: Connection, handler: Any) -> None:
    """Read the credentials of the request, and start to look them up."""
    call = call_of(connection)
    declared = call.declared = handler.opt
    call.path_values = connection.scope["path_params"]
    call.identify()
    call.log.project = call.project_id[:LONGEST_LOGGED_ID]
    call.begins_early = (
        call.method in READING
        and call.claims_key
        and call.reads_early
        and not call.asks_as_of
        and not (declared["needs_project"] and call.services.fair_queue.is_contended(call.project_id))
    )


async def require_caller(connection: Connection, _: Any) -> None:
    """Raise an error for invalid credentials, an unknown origin, or a service that the project has switched off."""
    call = call_of(connection)
    if not call.begins_early:
        await judge_caller(call)


async def require_scope(connection: Connection, _: Any) -> None:
    """Raise UnauthorizedScope unless the caller holds one of the operation's scopes."""
    call = call_of(connection)
    if not call.begins_early:
        judge_scope(call, await call.caller())


async def require_project(connection: Connection, _: Any) -> None:
    """Raise AccessForbidden if the operation needs a project and none is named."""
    call = call_of(connection)
    if not call.begins_early:
        judge_project(call)


async def require_for_page(connection: Connection, handler: Any) -> None:
    """Judge the caller of a page, which is no operation, in the same order."""
    await identify(connection, handler)
    call = call_of(connection)
    call.begins_early = False
    await judge(call)


GUARDS = [identify, require_caller, require_scope, require_project]


def call_of(connection: Connection) -> Call:
    """Return the call that the edge has put into a connection's scope."""
    call: Call = connection.scope["state"]["call"]
    return call


async def judge_caller(call: Call) -> None:
    """Do the work of `require_caller`, also for a read that started early."""
    if await call.authenticate() is GUEST and call.header(b"x-appwrite-key"):
        call.hint(KEY_VOID)
    await call.admit()


def judge_scope(call: Call, caller: Caller) -> None:
    """Do the work of `require_scope`. A past state needs one more scope."""
    scopes = call.declared["scopes"]
    require_any(caller, scopes(call.api_version) if callable(scopes) else scopes, newest=call.api_version.newest)
    if call.asks_as_of:
        require_any(caller, EVENTS_READ)


def judge_project(call: Call) -> None:
    """Do the work of `require_project`."""
    if call.declared["needs_project"]:
        if not call.project_id:
            raise AccessForbidden
        call.services.fair_queue.record_call(call.project_id)


async def judge(call: Call) -> None:
    """Raise the first error of the caller, in the contract's order."""
    await judge_caller(call)
    judge_scope(call, await call.caller())
    judge_project(call)


async def judge_after_reading(call: Call, proceed: Handler) -> Any:
    """Judge the caller of a read that started early, before its answer or its error is sent."""
    if not call.begins_early:
        return await proceed(call)
    try:
        answer = await proceed(call)
    except DomainError:
        await judge(call)
        raise
    await judge(call)
    return answer


async def parse_parameters(call: Call, proceed: Handler) -> Any:
    """Parse the parameters by the operation's table."""
    call.refuse_unknown_as_of()
    declared = call.declared
    if not declared["reads_body_itself"]:
        sent = await call.sent()
        if (translate := declared["translate"]) is not None:
            sent = translate(sent, call.api_version)
        parameters = declared["parameters"]
        call.values = (parameters(call) if callable(parameters) else parameters).parse(sent)
    return await proceed(call)


async def limit_requests(call: Call, proceed: Handler) -> Any:
    """Bound the concurrent requests of the process and of the project. Raises Overloaded."""
    with call.services.working.one(call.project_id):
        return await proceed(call)


async def take_turn(call: Call, proceed: Handler) -> Any:
    """Wait for a permit of the fair queue (ADR 0036). Raises RateLimited if that takes too long."""
    least = READS_AT_ONCE if call.method in READING else 1
    async with call.services.fair_queue.permit(call.project_id, seconds=QUEUE_SECONDS, least=least) as permit:
        call.permit = permit
        ending = asyncio.get_running_loop().call_later(LONGEST_PERMIT_SECONDS, permit.end)
        try:
            return await proceed(call)
        finally:
            ending.cancel()


async def repeat_for_replaced_project(call: Call, proceed: Handler) -> Any:
    """Repeat the request, with new checks, if its project was replaced before anything was recorded."""
    try:
        return await proceed(call)
    except ProjectReplaced:
        call.services.vault.forget(call.realm)
        call.identify()
        await judge(call)
    if call.declared["reads_body_itself"]:  # the client has to send it again
        raise Conflict
    try:
        return await proceed(call)
    except DataKeyReplaced as error:  # the value is a former one, as a revert brings it back
        raise DataKeyDeleted from error
    except ProjectReplaced as error:
        raise Conflict from error


async def require_code_scopes(call: Call, proceed: Handler) -> Any:
    """Raise UnauthorizedScope if the operation changes code that has scopes which the caller lacks."""
    if (require := call.declared["code_scopes"]) is not None:
        await require(call)
    return await proceed(call)


async def try_without_recording(call: Call, proceed: Handler) -> Any:
    """Answer a dry run with what would be recorded."""
    return await (answer_dry_run(call, proceed) if call.is_dry_run else proceed(call))


async def create_once_per_key(call: Call, proceed: Handler) -> Any:
    """Carry out a create operation once for each idempotency key."""
    creation = call.declared["creates"]
    return await (proceed(call) if creation is None else idempotency.once(call, proceed, creation))


def composed(declared: Declared, method: str, handler: Handler) -> Handler:
    """Return a handler within the stages that its declaration asks for."""
    reads = method == "GET"
    # a slow upload must not hold a permit
    waits_its_turn = declared["needs_project"] and not declared["reads_body_itself"]
    stages = [
        *([judge_after_reading] if reads else []),
        parse_parameters,
        *([limit_requests, take_turn] if waits_its_turn else []),
        repeat_for_replaced_project,
        *([] if reads else [require_code_scopes, try_without_recording, create_once_per_key]),
    ]
    return reduce(lambda inner, stage: partial(stage, proceed=inner), reversed(stages), handler)
