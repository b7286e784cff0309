"""`context.res`, and the conversion of its results into replies."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from .head import HEADER_NAME, HEADER_VALUE
from .request import HIDDEN
from .settings import as_text

# A client waits for another response after a status below 200, so such a status travels in a header of a 200 response.
INTERIM_STATUS = "x-open-runtimes-status"
# Connection headers: the server frames the body and manages the connection.
FRAMING = {"content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "trailer"}


class Reply(NamedTuple):
    """One reply. Header names are in lower case and may repeat."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Unusable(Exception):
    """The function's result cannot be sent; the message is for its developer."""


class Response:
    """Helpers that create a result; only the returned one is sent."""

    def text(self, body: str, status_code: int = 200, headers: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.binary(body.encode("utf-8"), status_code, headers)

    def json(self, obj: Any, status_code: int = 200, headers: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {**(headers or {}), "content-type": "application/json"}
        return self.text(json.dumps(obj, separators=(",", ":")), status_code, headers)

    def binary(self, body: Any, status_code: int = 200, headers: dict[str, Any] | None = None) -> dict[str, Any]:
        return {"body": as_bytes(body), "statusCode": status_code, "headers": headers or {}}

    def redirect(self, url: str, status_code: int = 301, headers: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.binary(b"", status_code, {**(headers or {}), "location": url})

    def empty(self) -> dict[str, Any]:
        return self.binary(b"", 204)

    def send(self, body: Any, status_code: int = 200, headers: dict[str, Any] | None = None) -> dict[str, Any]:
        """Deprecated: `text` or `binary`."""
        return {"body": body, "statusCode": status_code, "headers": headers or {}}


def as_bytes(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode("utf-8")
    try:
        return memoryview(body).tobytes()
    except TypeError:
        raise Unusable(f"Invalid response body: expected text or bytes, got {type(body).__name__}.") from None


def finish(output: Any, log_id: str) -> Reply:
    """Convert a function's result by the contract's rules. Raises Unusable."""
    if output is None:
        raise Unusable("Return statement missing. return context.res.empty() if no response is expected.")
    if not isinstance(output, dict):
        raise Unusable(f"Invalid response: return what a context.res helper made, not {type(output).__name__}.")
    body = as_bytes(value_or(output.get("body"), b""))
    status = value_or(output.get("statusCode"), 200)
    if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 999:
        raise Unusable(f"Invalid response status code: {status}.")
    headers = value_or(output.get("headers"), {})
    if not isinstance(headers, dict):
        raise Unusable(f"Invalid response headers: expected a map, got {type(headers).__name__}.")
    lines = finish_headers(headers, log_id)
    if status < 200:
        return Reply(200, [*lines, (INTERIM_STATUS, str(status))], b"")
    return Reply(status, lines, body)


def value_or(value: Any, default: Any) -> Any:
    return default if value is None else value


def finish_headers(headers: dict[str, Any], log_id: str) -> list[tuple[str, str]]:
    lines: dict[str, list[str]] = {}
    for key, value in headers.items():
        name = str(key).lower()
        if name.startswith(HIDDEN) or name in FRAMING or value is None:
            continue
        if not HEADER_NAME(name):
            raise Unusable(f"Invalid response header name: {name!r}.")
        lines[name] = [as_text(item) for item in (value if isinstance(value, (list, tuple)) else [value])]
        if not all(HEADER_VALUE(line) for line in lines[name]):
            raise Unusable(f"Invalid character in response header {name}.")
    lines["content-type"] = [finish_content_type((lines.get("content-type") or ["text/plain"])[-1])]
    lines["x-open-runtimes-log-id"] = [log_id]
    return [(name, line) for name, values in lines.items() for line in values]


def finish_content_type(value: str) -> str:
    """Return the content type, by default text in UTF-8; a multipart boundary keeps its case."""
    lower = value.lower()
    if lower.startswith("multipart/") or "charset=" in lower:
        return value
    return lower + "; charset=utf-8"


def plain(status: int, body: str, log_id: str = "") -> Reply:
    """Return a reply of the server itself."""
    headers = [("content-type", "text/plain; charset=utf-8"), ("x-open-runtimes-log-id", log_id)]
    return Reply(status, headers, body.encode())
