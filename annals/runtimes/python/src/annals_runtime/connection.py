"""One client connection: reads requests and sends replies in order. Runs on the server's event loop."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from .head import MAX_HEAD, Chunks, Head, Malformed

if TYPE_CHECKING:
    from .response import Reply

MAX_BODY = 20 * 1024 * 1024
MAX_DISCARD = 64 * 1024 * 1024  # of a body that nobody wants, before the connection is cut
MAX_AHEAD = 64 * 1024  # pipelined bytes taken in while a request runs
SLOW_HEAD_SECONDS = 60
SLOW_BODY_SECONDS = 300
JOIN_BELOW = 64 * 1024

REASONS = {status.value: status.phrase for status in HTTPStatus}


class Application(Protocol):
    connections: set[Connection]

    def admit(self, head: Head) -> Reply | None: ...
    def too_large(self) -> Reply: ...
    def malformed(self, error: Malformed) -> Reply: ...
    def serve(self, connection: Connection, head: Head, body: bytes) -> None: ...


class Connection(asyncio.Protocol):
    """Parses requests one after another and passes each to the application, which answers with `reply`."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self.buffer = bytearray()
        self.head: Head | None = None
        self.chunks: Chunks | None = None
        self.parts: list[bytes] = []
        self.size = 0
        self.refusal: Reply | None = None
        self.busy = False
        self.advancing = False
        self.closing = False
        self.since = 0.0  # when the request that is coming in began, 0 between requests

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows the type only
        self.transport = transport
        self.app.connections.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.closing = True
        self.app.connections.discard(self)

    def eof_received(self) -> bool:
        """Keep a half-closed connection: its client still receives replies."""
        if self.busy and self.head is not None:
            self.head.keep_alive = False
        return self.busy

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        self.buffer += data
        if self.busy:
            if len(self.buffer) > MAX_AHEAD:
                self.transport.pause_reading()
            return
        self.advance()

    def advance(self) -> None:
        if self.advancing:  # a request answered at once: the loop below goes on by itself
            return
        self.advancing = True
        try:
            while not self.busy and not self.closing and self.buffer:
                before = len(self.buffer)
                if self.head is None:
                    self.take_head()
                else:
                    self.take_body()
                if len(self.buffer) == before and not self.busy:
                    return
        except Malformed as error:
            self.write(self.app.malformed(error), keep_alive=False)
        finally:
            self.advancing = False

    def take_head(self) -> None:
        buffer = self.buffer
        while buffer.startswith(b"\r\n"):  # a stray line end between requests (RFC 9112 §2.2)
            del buffer[:2]
        self.since = self.since or time.monotonic()
        end = buffer.find(b"\r\n\r\n")
        if end > MAX_HEAD or (end < 0 and len(buffer) > MAX_HEAD):
            raise Malformed(431, "Request headers too large.")
        if end < 0:
            return
        head = Head(bytes(buffer[:end]))
        del buffer[: end + 4]
        self.head = head
        self.refusal = self.app.admit(head)
        if head.length == 0:
            self.dispatch(b"")
            return
        if head.length is None:
            self.chunks = Chunks()
        elif head.length > MAX_BODY:
            self.refusal = self.refusal or self.app.too_large()
        if head.expects:
            self.answer_expectation()
        elif self.buffer:
            self.take_body()

    def answer_expectation(self) -> None:
        """Answer `Expect: 100-continue`, unless the request is refused: then the client need not send its body."""
        if self.refusal is not None:
            self.write(self.refusal, keep_alive=False)
        else:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def take_body(self) -> None:
        head = self.head
        if head is None:
            return
        if self.chunks is not None:
            part = self.chunks.feed(self.buffer)
            whole = self.chunks.done
        else:
            wanted = (head.length or 0) - self.size
            part = bytes(self.buffer[:wanted]) if len(self.buffer) > wanted else bytes(self.buffer)
            del self.buffer[: len(part)]
            whole = len(part) == wanted
        self.size += len(part)
        if self.size > MAX_BODY and self.refusal is None:
            self.refusal = self.app.too_large()
        if self.refusal is None:
            self.parts.append(part)
        elif self.size > MAX_DISCARD:
            self.write(self.refusal, keep_alive=False)
            return
        if whole:
            self.dispatch(self.parts[0] if len(self.parts) == 1 else b"".join(self.parts))

    def dispatch(self, body: bytes) -> None:
        head, refusal = self.head, self.refusal
        self.chunks, self.parts, self.size, self.refusal, self.since = None, [], 0, None, 0.0
        self.busy = True
        if refusal is not None:
            self.reply(refusal)
        elif head is not None:
            self.app.serve(self, head, body)

    def reply(self, reply: Reply) -> None:
        """Answer the current request, then parse bytes that arrived meanwhile."""
        if self.head is None or self.transport.is_closing():
            return
        keep_alive = self.head.keep_alive
        self.write(reply, keep_alive=keep_alive)
        self.head = None
        self.busy = False
        if keep_alive and self.buffer:
            self.transport.resume_reading()
            self.advance()

    def write(self, reply: Reply, *, keep_alive: bool) -> None:
        status, body = reply.status, reply.body
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}"]
        lines += ["{}: {}".format(*pair) for pair in reply.headers]
        if status not in {204, 304}:
            lines.append(f"content-length: {len(body)}")
        lines.append("connection: %s\r\n\r\n" % ("keep-alive" if keep_alive else "close"))
        head = "\r\n".join(lines).encode("utf-8", "surrogateescape")
        if status in {204, 304} or (self.head is not None and self.head.method == "HEAD"):
            body = b""
        if len(body) < JOIN_BELOW:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)
        if not keep_alive:
            self.closing = True
            self.buffer.clear()
            self.transport.close()

    def expire(self, now: float) -> None:
        """Disconnect a client that takes too long to send its request."""
        limit = SLOW_HEAD_SECONDS if self.head is None else SLOW_BODY_SECONDS
        if self.since and not self.busy and now - self.since > limit:
            self.write(self.app.malformed(Malformed(408, "Request took too long.")), keep_alive=False)
