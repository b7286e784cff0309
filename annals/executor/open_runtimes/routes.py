"""The executor API of the runtime contract (its §13) as a Litestar application.

Replies are JSON. Those of executions may also be multipart, with the unchanged bytes of a body.
"""

import asyncio
import hmac
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import msgspec
from litestar import Controller, Litestar, MediaType, Request, Response, delete, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.exceptions import InternalServerException
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath
from litestar.response import Stream
from litestar.types import ControllerRouterHandler, Guard

from annals.domain.ports import Outcome
from annals.executor.open_runtimes.errors import EXCEPTION_HANDLERS, ApiError
from annals.executor.open_runtimes.parameters import LONGEST_SECONDS, Fields, creation, execution, runtime_id
from annals.executor.open_runtimes.runtimes import Runtimes
from annals.http.connection import Bounds

BOUNDS = Bounds(
    head_bytes=128 * 1024,
    target_bytes=8 * 1024,
    head_lines=200,
    head_seconds=60.0,
    silent_seconds=60.0,
    waiting=16,
    connections=512,
)
JSON = "application/json"
FORMAT = "x-executor-response-format"
LISTS_SINCE = (0, 11, 0)
"""From this response format on, repeated headers are lists; before, the last one counts."""
BODY_BYTES = 22 * 1024 * 1024
HELD_BYTES = 256 * 1024 * 1024
"""Most bytes of all bodies in memory."""
BEARER = "Bearer "
OPEN = "open"
"""A route with this option needs no secret."""

AnyRequest = Request[Any, Any, Any]
Name = FromPath[str]
Content = NamedDependency[bytes]
Shared = NamedDependency[Runtimes]


class Bodies:
    """Reads the bodies of requests; `held` is the number of their bytes in memory."""

    def __init__(self) -> None:
        self.held = 0

    async def read(self, request: AnyRequest) -> AsyncGenerator[bytes, None]:
        """Yield a request's body, and hold it until the request has been handled. Raises ApiError."""
        body, size = bytearray(), 0
        try:
            try:
                async with asyncio.timeout(BOUNDS.silent_seconds) as silence:
                    async for piece in request.stream():
                        if self.held + len(piece) > HELD_BYTES:
                            raise ApiError("general_overloaded")
                        self.held += len(piece)
                        size += len(piece)
                        body += piece
                        silence.reschedule(asyncio.get_running_loop().time() + BOUNDS.silent_seconds)
            except (TimeoutError, InternalServerException):  # the latter if the client disconnected
                raise ApiError("general_argument_invalid", "The body did not arrive in time.") from None
            content = bytes(body)
            body.clear()
            yield content
        finally:
            self.held -= size


def create_app(
    handlers: Sequence[ControllerRouterHandler],
    secret: str,
    bodies: Bodies,
    dependencies: Mapping[str, Provide] | None = None,
) -> Litestar:
    """Return an application whose routes ask for the secret unless they are open. `content` is a request's body."""
    return Litestar(
        handlers,
        guards=[_guard(secret)],
        dependencies={"content": Provide(bodies.read), **(dependencies or {})},
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=BODY_BYTES,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )


def _guard(secret: str) -> Guard:
    expected = f"{BEARER}{secret}".encode()

    async def check(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        if connection.scope.get("method") == "OPTIONS":  # which Litestar would answer on every path
            raise ApiError("general_route_not_found")
        sent = connection.headers.get("authorization", "").encode("latin-1")
        if not (handler.opt.get(OPEN) or hmac.compare_digest(sent, expected)):
            raise ApiError("general_unauthorized")

    return check


@get("/v1/health", opt={OPEN: True}, media_type=MediaType.TEXT)
async def health() -> str:
    return "OK"


class RuntimeController(Controller):
    """Runtimes by the ids that a control plane gives them."""

    path = "/v1/runtimes"

    @post()
    async def create(self, request: AnyRequest, content: Content, runtimes: Shared) -> dict[str, Any]:
        name, spec = creation(_fields(request, content))
        return await runtimes.create(name, spec)

    @get()
    async def list_all(self, runtimes: Shared) -> list[dict[str, Any]]:
        return runtimes.all_seen()

    @get("/{name:str}")
    async def read(self, name: Name, runtimes: Shared) -> dict[str, Any]:
        return runtimes.seen(name)

    @delete("/{name:str}", status_code=200)
    async def remove(self, name: Name, runtimes: Shared) -> Response[bytes]:
        await runtimes.delete(name)
        return Response(b"", media_type=JSON)

    @get("/{name:str}/logs")
    async def follow(self, request: AnyRequest, name: Name, runtimes: Shared) -> Stream:
        fields = Fields.of_query(request.scope["query_string"])
        seconds = fields.number("timeout", 600, least=1, most=LONGEST_SECONDS)
        output = await runtimes.output(name, seconds)
        headers = {"content-type": "text/event-stream", "cache-control": "no-cache"}
        return Stream(output.lines(seconds), headers=headers)

    @post("/{name:str}/commands", status_code=200)
    async def command(self, request: AnyRequest, name: Name, content: Content, runtimes: Shared) -> dict[str, str]:
        fields = _fields(request, content)
        command = fields.text("command", 1024, least=1)
        seconds = fields.number("timeout", 600, least=1, most=LONGEST_SECONDS)
        return {"output": await runtimes.command(name, command, seconds)}

    @post(["/{name:str}/executions", "/{name:str}/execution"], status_code=200)
    async def execute(self, request: AnyRequest, name: Name, content: Content, runtimes: Shared) -> Response[bytes]:
        call, spec = execution(_fields(request, content))
        outcome, started, seconds = await runtimes.execute(runtime_id(name), call, spec)
        return executed(request.headers, outcome, started, seconds)


def _fields(request: AnyRequest, content: bytes) -> Fields:
    return Fields.of_body(request.headers.get("content-type", ""), content)


def executed(asked: Mapping[str, str], outcome: Outcome, started: float, seconds: float) -> Response[bytes]:
    """Return the reply to an execution; `asked` are the request's headers. Raises ApiError if JSON cannot represent the
    body."""
    message = outcome.message if outcome.reason not in ("", "error") else ""
    errors = outcome.errors
    if message and message not in errors:
        errors = f"{errors.rstrip()}\n{message}".lstrip("\n")
    fields: dict[str, Any] = {
        "statusCode": outcome.status_code,
        "headers": _headers(outcome.headers, lists=_format(asked.get(FORMAT, "")) >= LISTS_SINCE),
        "body": outcome.body,
        "logs": outcome.logs,
        "errors": errors,
        "duration": seconds,
        "startTime": started,
    }
    return _json(fields) if wants_json(asked.get("accept", "")) else _multipart(fields)


def wants_json(accept: str) -> bool:
    """Return True if an `accept` header lists JSON; otherwise the reply is multipart."""
    return any(kind.strip().startswith((JSON, "application/*")) for kind in accept.lower().split(","))


def _headers(pairs: list[tuple[str, str]], *, lists: bool) -> dict[str, str | list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return {name: values if lists and len(values) > 1 else values[-1] for name, values in found.items()}


def _format(text: str) -> tuple[int, ...]:
    parts = text.split(".")
    if not text.isascii() or len(parts) > 3 or not all(part.isdecimal() and len(part) < 6 for part in parts):
        return (0, 10, 0)
    return tuple(int(part) for part in (*parts, "0", "0")[:3])


def _json(fields: dict[str, Any]) -> Response[bytes]:
    try:
        body = fields["body"].decode()
    except UnicodeDecodeError:
        raise ApiError("execution_bad_json") from None
    return Response(msgspec.json.encode({**fields, "body": body}), media_type=JSON)


def _multipart(fields: dict[str, Any]) -> Response[bytes]:
    boundary = f"annals-{secrets.token_hex(16)}"  # drawn after the body, which therefore cannot contain it
    lines: list[bytes] = []
    for name, value in fields.items():
        kind = ""
        if isinstance(value, dict):
            kind, value = f"Content-Type: {JSON}\r\n", msgspec.json.encode(value)  # noqa: PLW2901
        content = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n{kind}\r\n'
        lines += [head.encode(), content, b"\r\n"]
    lines.append(f"--{boundary}--\r\n".encode())
    return Response(b"".join(lines), media_type=f"multipart/form-data; boundary={boundary}")
