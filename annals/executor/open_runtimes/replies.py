"""Replies to executions: JSON, or multipart with the body's unchanged bytes."""

import secrets
from typing import Any

import msgspec

from annals.domain.ports import Outcome
from annals.executor.open_runtimes.errors import ApiError
from annals.executor.open_runtimes.wire import JSON, Reply, Request

FORMAT = "x-executor-response-format"
LISTS_SINCE = (0, 11, 0)
"""From this response format on, repeated headers are lists; before, the last one counts."""


def executed(request: Request, outcome: Outcome, started: float, seconds: float) -> Reply:
    """Return the reply to an execution. Raises ApiError if JSON cannot represent the body."""
    message = outcome.message if outcome.reason not in ("", "error") else ""
    errors = outcome.errors
    if message and message not in errors:
        errors = f"{errors.rstrip()}\n{message}".lstrip("\n")
    fields: dict[str, Any] = {
        "statusCode": outcome.status_code,
        "headers": _headers(outcome.headers, lists=_format(request.headers.get(FORMAT, "")) >= LISTS_SINCE),
        "body": outcome.body,
        "logs": outcome.logs,
        "errors": errors,
        "duration": seconds,
        "startTime": started,
    }
    return _json(fields) if wants_json(request.headers.get("accept", "")) else _multipart(fields)


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


def _json(fields: dict[str, Any]) -> Reply:
    try:
        body = fields["body"].decode()
    except UnicodeDecodeError:
        raise ApiError("execution_bad_json") from None
    return Reply(body=msgspec.json.encode({**fields, "body": body}))


def _multipart(fields: dict[str, Any]) -> Reply:
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
    return Reply(body=b"".join(lines), content_type=f"multipart/form-data; boundary={boundary}")
