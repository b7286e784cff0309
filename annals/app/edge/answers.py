"""Answers before they are sent: whole ones, and those streamed piece by piece."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

Header = tuple[bytes, bytes]
JSON = (b"content-type", b"application/json; charset=UTF-8")
_encoder = msgspec.json.Encoder()


class Answer:
    """One response: `body` at once, or `stream` in pieces (then `length`, if known, is sent as Content-Length)."""

    __slots__ = ("body", "headers", "length", "position", "status", "stream")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        headers: list[Header] | None = None,
        *,
        stream: AsyncIterator[bytes] | None = None,
        length: int | None = None,
    ) -> None:
        self.status, self.body, self.headers, self.stream = status, body, headers or [], stream
        self.length = len(body) if stream is None else length
        self.position = 0


def json_answer(value: Any, *, status: int = 200, headers: list[Header] | None = None) -> Answer:
    """A struct as a JSON answer."""
    return Answer(status, _encoder.encode(value), [JSON, *(headers or ())])


def raw_json_answer(body: bytes, *, status: int = 200) -> Answer:
    """Bytes that are JSON already."""
    return Answer(status, body, [JSON])


def no_content() -> Answer:
    """204: official Python SDKs crash on one without a type, or with a JSON one."""
    return Answer(204, b"", [(b"content-type", b"text/html")])
