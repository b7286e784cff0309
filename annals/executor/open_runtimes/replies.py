"""Replies to executions: JSON, or multipart with the body's unchanged bytes."""

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Response

from annals.domain.ports import Outcome
from annals.executor.open_runtimes.errors import ApiError

JSON = "application/json"
FORMAT = "x-executor-response-format"
LISTS_SINCE = (0, 11, 0)
"""From this response format on, repeated headers are lists; before, the last one counts."""


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
