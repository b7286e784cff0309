"""Errors of the Open Runtimes executor API: each type with its status code, its default message and its answer."""

import asyncio
from contextlib import suppress
from typing import Any, Self

import msgspec
import structlog
from litestar import Request
from litestar.exceptions import HTTPException
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Send

from annals.executor.errors import EngineAway, SandboxLost
from annals.http.connection import LINGER_SECONDS, Rejection, RejectionAnswer

log = structlog.get_logger()

VERSION = "0.11.0"
"""The version of the executor API, which errors contain."""

USUAL = {
    "general_unknown": (500, "Internal server error."),
    "general_unauthorized": (401, "Missing executor key"),
    "general_route_not_found": (404, "Not Found"),
    "general_argument_invalid": (400, "A parameter is missing or invalid."),
    "general_request_too_large": (413, "The request is larger than is allowed."),
    "general_overloaded": (503, "More is being asked at once than is allowed. Try again soon."),
    "general_unavailable": (503, "The container engine does not answer. Try again soon."),
    "runtime_not_found": (404, "Runtime not found"),
    "runtime_conflict": (409, "Runtime already exists."),
    "runtime_failed": (400, "Runtime failed."),
    "runtime_timeout": (400, "Timed out waiting for runtime."),
    "build_failed": (400, "Build failed."),
    "execution_bad_request": (400, "Execution request was invalid."),
    "execution_bad_json": (
        400,
        "Execution resulted in binary response, but JSON response does not allow binaries. "
        'Use "Accept: multipart/form-data" header to support binaries.',
    ),
    "logs_timeout": (504, "Timed out waiting for logs."),
    "command_timeout": (500, "Operation timed out."),
    "command_failed": (500, "Failed to execute command."),
}
"""The types of the contract, and four of our own for requests that are rejected before they are parsed."""


class ApiError(Exception):
    """A request fails with this error; `kind` is a key of USUAL."""

    def __init__(self, kind: str, message: str = "") -> None:
        self.code, usual = USUAL[kind]
        self.kind = kind
        super().__init__(message or usual)


BEFORE_THE_BODY = frozenset(
    ("general_unauthorized", "general_route_not_found", "general_request_too_large", "general_overloaded")
)
"""Types that may answer a request before its body has arrived. Their connections close."""


class ErrorAnswer(ASGIResponse):
    """The answer for an error, in the envelope of the contract."""

    def __init__(self, error: ApiError) -> None:
        headers = {"cache-control": "no-cache, no-store, must-revalidate", "expires": "0", "pragma": "no-cache"}
        if error.code == 503:
            headers["retry-after"] = "1"
        content = {"type": error.kind, "message": str(error), "code": error.code, "version": VERSION}
        super().__init__(status_code=error.code, body=msgspec.json.encode(content), headers=headers)
        self._closes = error.kind in BEFORE_THE_BODY

    def to_asgi_response(self, **_options: Any) -> Self:
        """Return the answer itself. Litestar calls this on results of exception handlers."""
        return self

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Send the body. If the connection closes, discard what the client still sends, so that it reads the answer."""
        await send({"type": "http.response.body", "body": self.body, "more_body": self._closes})
        if self._closes:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    while (await receive()).get("more_body"):
                        pass
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def start_response(self, send: Send) -> None:
        if self._closes:
            self.headers["connection"] = "close"
        await super().start_response(send)


def rejection_answer(rejection: Rejection) -> RejectionAnswer:
    """Return the answer to a request that the server rejects before the application sees it."""
    kinds = {Rejection.TOO_LARGE: "general_request_too_large", Rejection.TOO_MANY: "general_overloaded"}
    answer = ErrorAnswer(ApiError(kinds.get(rejection, "general_argument_invalid"), rejection.value))
    return RejectionAnswer(answer.status_code, answer.encode_headers(), answer.body)


def _of_the_api(_: Request[Any, Any, Any], error: ApiError) -> ErrorAnswer:
    return ErrorAnswer(error)


def _of_the_framework(request: Request[Any, Any, Any], error: HTTPException) -> ErrorAnswer:
    if error.status_code in (404, 405):
        return ErrorAnswer(ApiError("general_route_not_found"))
    if error.status_code == 413:
        return ErrorAnswer(ApiError("general_request_too_large"))
    if error.status_code < 500:
        return ErrorAnswer(ApiError("general_argument_invalid", error.detail))
    return _unexpected(request, error)


def _unavailable(_: Request[Any, Any, Any], error: Exception) -> ErrorAnswer:
    return ErrorAnswer(ApiError("general_unavailable", str(error)))


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> ErrorAnswer:
    log.error("facade.fault", path=request.scope["path"], exc_info=error)
    return ErrorAnswer(ApiError("general_unknown"))


EXCEPTION_HANDLERS: Any = {
    ApiError: _of_the_api,
    HTTPException: _of_the_framework,
    EngineAway: _unavailable,
    SandboxLost: _unavailable,
    Exception: _unexpected,
}
