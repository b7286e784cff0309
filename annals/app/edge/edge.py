"""The edge: the outermost layer around the routes of the API, for every request from its head to its last byte.

Domain requests, preflights and malformed paths are answered before Litestar routes. Every answer gets the edge's
headers when it starts.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import structlog
from litestar.exceptions import LitestarException
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from annals.app.edge import cors, hints
from annals.app.edge.answers import Answer, Header
from annals.app.edge.call import Call
from annals.app.edge.failures import failed
from annals.app.errors import RouteNotFound
from annals.app.identity.client_addresses import with_client_address
from annals.app.services import Services
from annals.domain.errors import BadRequest
from annals.settings import Settings
from annals.store.errors import ContentDamaged
from annals.store.ids import generate_id
from annals.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_FIXED: list[Header] = [
    (b"server", b"Appwrite"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-debug-fallback", b"false"),
]
_LONGEST_REQUEST_ID = 128

LONGEST_PATH = 4096
"""Most characters of a path: the router caches the last paths."""


class Edge:
    """An ASGI application around the routes. `kind_of` returns the class of a request by its `Host` header."""

    def __init__(self, routes: ASGIApp, metrics: Metrics, kind_of: Callable[[bytes, Settings], type[Call]]) -> None:
        self._routes, self._metrics, self._kind_of = routes, metrics, kind_of
        self._services: Services
        self._idle = asyncio.Event()
        self._idle.set()

    def open(self, services: Services) -> None:
        """Set the services. No request may come before."""
        self._services = services

    async def drained(self) -> None:
        """Wait until no request is being answered, after the server has stopped listening."""
        await self._idle.wait()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._routes(scope, receive, send)
            return
        call = self._call(scope, receive)
        self._metrics.begin()
        self._idle.clear()
        try:
            await self._answer(call, _Sender(call, send, self._metrics))
        finally:
            call.scope["state"].clear()  # break the reference cycle, which only the garbage collector would free
            self._metrics.end()
            if not self._metrics.running:
                self._idle.set()

    def _call(self, scope: Mapping[str, Any], receive: Receive) -> Call:
        """Return the call of a request, which the scope of its route holds too."""
        scope = with_client_address(scope, self._services.settings.trusted_proxies)
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        kind = self._kind_of(host, self._services.settings)
        routed: dict[str, Any] = {**scope, "state": {}}
        call = routed["state"]["call"] = kind(routed, receive, self._services, _request_id(scope))
        return call

    async def _answer(self, call: Call, send: Send) -> None:
        try:
            answer = await _before_routing(call)
        except Exception as error:
            answer = failed(call, error)
        if answer is not None:
            await answer(cast(Scope, call.scope), call.receive, send)
            return
        if call.method == "HEAD":
            call.scope["method"] = "GET"  # the sender leaves the body out
        try:
            await self._routes(cast(Scope, call.scope), call.receive, send)
        except LitestarException as late:  # after the answer started: without its end the server closes the connection
            damage = _innermost(late.__cause__)
            if not isinstance(damage, ContentDamaged):
                raise
            log.error("content_damaged", error=str(damage))


class _Sender:
    """Sends an answer: reads the rest of the request's body first, counts the answer, and adds the edge's headers."""

    def __init__(self, call: Call, send: Send, metrics: Metrics) -> None:
        self._call, self._send, self._metrics = call, send, metrics
        self._began = time.perf_counter()

    async def __call__(self, message: Message) -> None:
        call = self._call
        if message["type"] == "http.response.start":
            await call.skip_rest()
            if not call.gone:
                self._metrics.count(
                    call.scope["method"] if call.route else "",
                    call.route,
                    message["status"],
                    time.perf_counter() - self._began,
                )
            call.log.position = call.position
            if call.hints:
                call.log.hint = hints.header_of(call.hints)
            message["headers"] = _headers(call, cast(list[Header], message["headers"]))
        elif call.method == "HEAD":
            message["body"] = b""  # type: ignore[typeddict-unknown-key]
        await self._send(message)


async def require_one_host(call: Call) -> None:
    """Raise BadRequest for a second host: a proxy and this server could each use another one."""
    if len({value for name, value in call.scope["headers"] if name == b"host"}) > 1:
        raise BadRequest("Send exactly one Host header.")


def answer_by_host(call: Call) -> Awaitable[Answer | None]:
    """Run the function whose host name the request has."""
    return call.answer_by_host()


async def answer_preflight(call: Call) -> Answer | None:
    """Answer OPTIONS on any path."""
    return cors.preflight() if call.method == "OPTIONS" else None


async def require_plain_path(call: Call) -> None:
    """Raise RouteNotFound for an empty segment, which the router would drop, and for a path over the limit."""
    path = call.scope["path"]
    if len(path) > LONGEST_PATH or "//" in path.rstrip("/"):
        raise RouteNotFound


BEFORE_ROUTING = (require_one_host, answer_by_host, answer_preflight, require_plain_path)


async def _before_routing(call: Call) -> Answer | None:
    for stage in BEFORE_ROUTING:
        if (answer := await stage(call)) is not None:
            return answer
    return None


def _innermost(error: BaseException | None) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):  # of the tasks that send a stream
        error = error.exceptions[0]
    return error


def _request_id(scope: Mapping[str, Any]) -> str:
    """Return the client's request id if it is well-formed, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and value.isascii() and value.isalnum() and len(value) <= _LONGEST_REQUEST_ID:
            return str(value.decode("ascii"))
    return generate_id()


def _headers(call: Call, sent: list[Header]) -> list[Header]:
    """Return the headers of an answer. A function's answer on its own host name gets none of ours."""
    if call.is_function:
        return sent
    headers = [*_FIXED, *sent, *call.answer_headers]
    headers.append((b"x-request-id", call.request_id.encode()))
    headers += cors.headers(call.headers.get(b"origin"), known=call.origin_known or call.method == "OPTIONS")
    if call.scope["scheme"] == "https":
        headers.append((b"strict-transport-security", b"max-age=10886400"))
    if call.position:
        headers.append((b"x-annals-position", b"%d" % call.position))
    if call.hints:
        headers.append((hints.HEADER, hints.header_of(call.hints).encode("ascii")))
    if call.api_version.warning:
        headers.append((b"x-appwrite-warning", call.api_version.warning.encode("ascii", "replace")))
    return headers
