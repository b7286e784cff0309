"""Answers: whole ones, streams of bytes, and streams of events."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

import msgspec
from litestar import Request
from litestar.response import ServerSentEvent, ServerSentEventMessage, Stream
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

Header = tuple[bytes, bytes]
JSON = (b"content-type", b"application/json; charset=UTF-8")
_encoder = msgspec.json.Encoder()


class Answer:
    """A whole response of ready bytes. It sends itself, which costs less than Litestar's own response."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes = b"", headers: list[Header] | None = None) -> None:
        self.status, self.body, self.headers = status, body, headers or []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        headers = [*self.headers, (b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})

    def to_asgi_response(self, **_options: Any) -> Self:
        """Return the answer itself. Litestar calls this on results of exception handlers."""
        return self


def json_answer(value: Any, *, status: int = 200, headers: list[Header] | None = None) -> Answer:
    """A struct as a JSON answer."""
    return Answer(status, _encoder.encode(value), [JSON, *(headers or ())])


def raw_json_answer(body: bytes, *, status: int = 200) -> Answer:
    """Bytes that are JSON already."""
    return Answer(status, body, [JSON])


def no_content() -> Answer:
    """204: official Python SDKs crash on one without a type, or with a JSON one."""
    return Answer(204, b"", [(b"content-type", b"text/html")])


class _Headed:
    """A stream whose body is left out for HEAD."""

    def to_asgi_response(self, app: Any, request: Request[Any, Any, Any], **options: Any) -> ASGIResponse:
        options["is_head_response"] = request.scope["state"]["call"].method == "HEAD"
        return super().to_asgi_response(app, request, **options)  # type: ignore[misc, no-any-return]


class _Stream(_Headed, Stream):
    pass


class _Events(_Headed, ServerSentEvent):
    pass


def stream_answer(pieces: AsyncIterator[bytes], *, status: int = 200, headers: Sequence[Header], length: int) -> Stream:
    """Return a stream of bytes. A disconnected client ends the iterator."""
    named = {name.decode(): value.decode("latin-1") for name, value in headers}
    return _Stream(pieces, status_code=status, headers={**named, "content-length": str(length)})


def event_answer(events: AsyncIterator[ServerSentEventMessage]) -> ServerSentEvent:
    """Return a stream of server-sent events. A disconnected client ends the iterator."""
    answer = _Events(events, headers={"content-type": "text/event-stream"})
    del answer.headers["Connection"]  # which the server decides
    return answer
