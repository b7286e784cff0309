"""The edge: every request's way from the route to the answer, in the contract's order, and nothing else.

One file because the order of these steps is the contract: it is read from top to bottom.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars

from annals.app.edge import cors, hints, proxies
from annals.app.edge.answers import Answer, Header
from annals.app.edge.call import Call, ClientGone
from annals.app.edge.dry_run import tried
from annals.app.edge.error_answers import domain_error_answer, error_answer
from annals.app.edge.errors import AccessForbidden, Damaged, KeyDeleted, Overloaded
from annals.app.edge.routing import Operation, Routes
from annals.app.hosts import host_name, is_own
from annals.app.hosts.domain_request import DomainRequest
from annals.app.hosts.pages import error_page
from annals.app.identity.caller import GUEST
from annals.app.identity.scopes import EVENTS_READ
from annals.app.services import Services
from annals.application.executions.runs import QUEUE_SECONDS
from annals.capacity.limiter import decrement
from annals.domain.errors import BadRequest, Conflict, DomainError
from annals.store.content.blobs import BlobError
from annals.store.errors import (
    ContentDamaged,
    DataKeyDeleted,
    DataKeyReplaced,
    ProjectReplaced,
    RequestTooLarge,
    StatementTooSlow,
    StoreUnavailable,
    UnknownTopic,
)
from annals.store.ids import generate_id
from annals.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_SAFE = frozenset({"GET", "HEAD"})
_FIXED: list[Header] = [
    (b"server", b"Appwrite"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-debug-fallback", b"false"),
]
_LONGEST_REQUEST_ID = 128
_CUT_OFF = "The request's body is cut off, or its chunks are none."
_NEWER = "A newer version of the server has changed this, and this process is about to be replaced. Try again shortly."

MOST_AT_ONCE, MOST_OF_PROJECT = 768, 512
"""Requests that one process works on at the same time, and of one project; more come back later.

Each holds memory and a place in every queue behind: beyond this, answers would only come later, not sooner.
"""

LONGEST_LOGGED_ID = 64
"""Characters of a project's id that log lines carry: longer ones name no project."""

READS_AT_ONCE = 4
"""Reads of a project that begin at once in any company: they share a trip."""

LONGEST_PERMIT_SECONDS = 0.25
"""Who works for longer waits for something else, and holds up none of its project's."""

Send = Callable[[Any], Awaitable[None]]


class Edge:
    """An ASGI application over a route table."""

    def __init__(self, routes: Routes, metrics: Metrics) -> None:
        self._routes, self._metrics = routes, metrics
        self._services: Services
        self._idle = asyncio.Event()
        self._idle.set()
        self._working = 0
        self._working_of: Counter[str] = Counter()

    def open(self, services: Services) -> None:
        """Serve with these; before, no request may come."""
        self._services = services

    async def drained(self) -> None:
        """Wait until no request is being answered; whoever listens has stopped to."""
        await self._idle.wait()

    async def __call__(self, scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        call = self._call(scope, receive)
        bind_contextvars(request=call.request_id)
        self._metrics.begin()
        self._idle.clear()
        started = time.perf_counter()
        try:
            answer = await self._answer_or_failure(call)
            if answer is not None:
                self._metrics.count(call, answer.status, time.perf_counter() - started)
                if call.hints:
                    bind_contextvars(hint=hints.header_of(call.hints))
                if position := max(call.position, answer.position):
                    bind_contextvars(position=position)
            await _send(call, answer or domain_error_answer(BadRequest(_CUT_OFF)), send)
        finally:
            self._metrics.end()
            if not self._metrics.running:
                self._idle.set()

    def _call(self, scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]]) -> Call:
        """A call of the API, or by a host name that is not the instance's own, which may be a function's."""
        scope = proxies.as_met(scope, self._services.settings.trusted_proxies)
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        kind = Call if is_own(host_name(host), self._services.settings) else DomainRequest
        return kind(scope, receive, self._services, _request_id(scope))

    async def _answer_or_failure(self, call: Call) -> Answer | None:
        """None when the request ended early: mostly nobody is there any more to be answered."""
        try:
            try:
                answer = await self._answer(call)
            except ClientGone:
                raise
            except Exception as error:
                if isinstance(error, DomainError):
                    call.hint(error.hint)
                answer = _failure(error, call)
                if isinstance(call, DomainRequest) and call.is_function:
                    answer = error_page(answer)
            await call.skip_rest()
        except ClientGone:
            return None
        return answer

    async def _answer(self, call: Call) -> Answer:
        if len({value for name, value in call.scope["headers"] if name == b"host"}) > 1:
            raise BadRequest("A request names one host: whoever stands between could have read the other one.")
        if isinstance(call, DomainRequest) and (answer := await call.run()) is not None:
            return answer
        if call.method == "OPTIONS":
            return cors.preflight()
        call.operation, call.path_values = self._routes.find(call.method, call.scope["path"])
        call.identify()
        if call.project_id:
            bind_contextvars(project=call.project_id[:LONGEST_LOGGED_ID])
        if self._reads_early(call):
            return await self._read(call)
        await self._judge(call)
        return await self._handle(call)

    def _reads_early(self, call: Call) -> bool:
        """Return True if a read may begin before its key is judged: only for a key that was good lately."""
        return (
            call.method in _SAFE
            and call.claims_key
            and call.reads_early
            and not call.asks_as_of
            and not self._is_contended(call)
        )

    async def _read(self, call: Call) -> Answer:
        """Reads begin while a key is looked up: both are one trip, and nothing is told before the judgement."""
        try:
            answer = await self._handle(call)
        except DomainError:
            await self._judge(call)
            raise
        await self._judge(call)
        return answer

    async def _judge(self, call: Call) -> None:
        operation = call.operation
        scopes = operation.scopes
        caller = await call.authenticate()
        await call.admit()
        if caller is GUEST and call.header(b"x-appwrite-key"):
            call.hint(hints.KEY_VOID)
        caller.require(scopes(call.api_version) if callable(scopes) else scopes, newest=call.api_version.newest)
        if call.asks_as_of:
            caller.require(EVENTS_READ)
        if operation.needs_project:
            if not call.project_id:
                raise AccessForbidden
            call.services.fair_queue.record_call(call.project_id)

    async def _handle(self, call: Call) -> Answer:
        operation: Operation = call.operation
        call.refuse_unknown_as_of()
        if not operation.reads_body_itself:
            sent = await call.sent()
            if operation.translate is not None:
                sent = operation.translate(sent, call.api_version)
            parameters = operation.parameters
            call.values = (parameters(call) if callable(parameters) else parameters).parse(sent)
        if not operation.needs_project or operation.reads_body_itself:  # who sends slowly holds nobody up
            return await self._work(call)
        with self._place(call.project_id):
            return await self._take_turn(call)

    def _is_contended(self, call: Call) -> bool:
        """Then it is judged first, for what is nobody's must not begin before others' turns."""
        return call.operation.needs_project and self._services.fair_queue.is_contended(call.project_id)

    @contextmanager
    def _place(self, project_id: str) -> Iterator[None]:
        """One of the process's, and of the project's. Raises Overloaded."""
        if self._working >= MOST_AT_ONCE or self._working_of[project_id] >= MOST_OF_PROJECT:
            raise Overloaded
        self._working += 1
        self._working_of[project_id] += 1
        try:
            yield
        finally:
            self._working -= 1
            decrement(self._working_of, project_id)

    async def _take_turn(self, call: Call) -> Answer:
        """Work on it when its project may (ADR 0036). Raises RateLimited when that takes too long."""
        least = READS_AT_ONCE if call.method in _SAFE else 1
        async with self._services.fair_queue.permit(call.project_id, seconds=QUEUE_SECONDS, least=least) as permit:
            call.permit = permit
            ending = asyncio.get_running_loop().call_later(LONGEST_PERMIT_SECONDS, permit.end)
            try:
                return await self._work(call)
            finally:
                ending.cancel()

    async def _work(self, call: Call) -> Answer:
        """Carry it out; once more, and judged anew, when its project changed hands before anything was recorded."""
        try:
            return await self._carry_out(call)
        except ProjectReplaced:
            call.services.vault.forget(call.realm)
            call.identify()
            await self._judge(call)
        if call.operation.reads_body_itself:  # the client has to send it again
            raise Conflict
        try:
            return await self._carry_out(call)
        except DataKeyReplaced as error:  # the value is a former one, as a revert brings it back
            raise DataKeyDeleted from error
        except ProjectReplaced as error:
            raise Conflict from error

    @staticmethod
    async def _carry_out(call: Call) -> Answer:
        if call.operation.code_scopes is not None:
            await call.operation.code_scopes(call)
        if call.is_dry_run:
            return await tried(call)
        operation: Operation = call.operation
        answer: Answer = await (operation.past if call.asks_as_of and operation.past else operation.handler)(call)
        return answer


def _request_id(scope: Mapping[str, Any]) -> str:
    """The client's own, when it sent a sensible one, so that its traces and ours meet."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and value.isascii() and value.isalnum() and len(value) <= _LONGEST_REQUEST_ID:
            return str(value.decode("ascii"))
    return generate_id()


def _failure(error: Exception, call: Call) -> Answer:
    if isinstance(error, DomainError):
        return domain_error_answer(error)
    if isinstance(error, DataKeyDeleted):
        return domain_error_answer(KeyDeleted())
    if isinstance(error, RequestTooLarge):
        return error_answer(str(error), 400, "general_argument_invalid")
    if isinstance(error, StatementTooSlow):
        log.warning("query_too_slow", path=call.scope["path"])
        return error_answer(str(error), 408, "database_timeout")
    if isinstance(error, StoreUnavailable):
        log.warning("store_unavailable", error=str(error))
        return error_answer(error.default, 503, "general_service_unavailable", [(b"retry-after", b"1")])
    if isinstance(error, UnknownTopic):  # in mid-upgrade: another process may know it already
        log.error("written_by_another_version", error=str(error))
        return error_answer(_NEWER, 503, "general_service_unavailable", [(b"retry-after", b"1")])
    if isinstance(error, ContentDamaged):
        log.error("content_damaged", error=str(error))
        return domain_error_answer(Damaged(str(error)))
    if isinstance(error, BlobError):
        log.error("blob_store_failed", error=str(error))
        return error_answer(
            "The blob store failed. Try again shortly.", 503, "general_service_unavailable", [(b"retry-after", b"5")]
        )
    log.error("unexpected", method=call.method, path=call.scope["path"], exc_info=error)
    return error_answer("Server Error", 500, "general_server_error")


async def _send(call: Call, answer: Answer, send: Send) -> None:
    if isinstance(call, DomainRequest) and call.is_function:  # headers of the function, and no others of ours
        headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    else:
        headers = _headers(call, answer)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if call.method == "HEAD":
        await send({"type": "http.response.body", "body": b""})
    elif answer.stream is None:
        await send({"type": "http.response.body", "body": answer.body})
    else:
        try:
            async for piece in answer.stream:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except ContentDamaged as error:  # without its end the server breaks the connection
            log.error("content_damaged", error=str(error))
            return
        await send({"type": "http.response.body", "body": b""})


def _headers(call: Call, answer: Answer) -> list[Header]:
    headers = [*_FIXED, *answer.headers, *call.answer_headers]
    headers.append((b"x-request-id", call.request_id.encode()))
    headers += cors.headers(call.headers.get(b"origin"), known=call.origin_known or call.method == "OPTIONS")
    if call.scope["scheme"] == "https":
        headers.append((b"strict-transport-security", b"max-age=10886400"))
    if position := max(call.position, answer.position):
        headers.append((b"x-annals-position", b"%d" % position))
    if call.hints:
        headers.append((hints.HEADER, hints.header_of(call.hints).encode("ascii")))
    if call.api_version.warning:
        headers.append((b"x-appwrite-warning", call.api_version.warning.encode("ascii", "replace")))
    if answer.length is not None:
        headers.append((b"content-length", b"%d" % answer.length))
    return headers
