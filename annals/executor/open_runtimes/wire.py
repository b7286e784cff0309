"""Requests and replies of the Open Runtimes API as values, independent of the HTTP server."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from annals.executor.open_runtimes.errors import ApiError

VERSION = "0.11.0"
"""The version of the executor API, which errors contain."""

JSON = "application/json"
REASONS = {
    200: "OK",
    201: "Created",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    409: "Conflict",
    413: "Content Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Header names are in lower case, and the first of repeated ones counts. `path` has no query."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One reply with a `body`, or with a `stream` of pieces."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    stream: AsyncGenerator[bytes, None] | None = None

    def head(self, *, store_artefact: bool) -> bytes:
        """Return the bytes before the body; `keep` says whether the connection stays open."""
        length = (
            ("transfer-encoding", "chunked") if self.stream is not None else ("content-length", str(len(self.body)))
        )
        lines = [f"HTTP/1.1 {self.status} {REASONS[self.status]}", f"content-type: {self.content_type}"]
        pairs = (length, *self.headers, ("connection", "keep-alive" if store_artefact else "close"))
        lines += [f"{name}: {value}" for name, value in pairs]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


Handler = Callable[[Request], Awaitable[Reply]]
WorkerLimiter = Callable[[Request], None]
"""Checks a request before its body is read; raises ApiError."""


def answered(content: Any, status: int = 200) -> Reply:
    """Return a reply in JSON."""
    return Reply(status=status, body=msgspec.json.encode(content))


def refused(error: ApiError) -> Reply:
    """Return the reply for an error."""
    content = {"type": error.kind, "message": str(error), "code": error.code, "version": VERSION}
    headers = [("cache-control", "no-cache, no-store, must-revalidate"), ("expires", "0"), ("pragma", "no-cache")]
    if error.code == 503:
        headers.append(("retry-after", "1"))
    return Reply(status=error.code, body=msgspec.json.encode(content), headers=tuple(headers))
