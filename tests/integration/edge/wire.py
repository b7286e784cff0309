"""The edge of another process: an ASGI application that forwards requests over a socket, byte for byte."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import httptools

READ_BYTES = 64 * 1024

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]
"""The edge that a test's client calls: in this process, or behind a socket."""


class Address(NamedTuple):
    host: str
    port: int


class OverSocket:
    """Opens a connection for each request and sends its client's address like a trusted proxy."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def __call__(
        self,
        scope: Mapping[str, Any],
        receive: Receive,
        send: Send,
    ) -> None:
        reader, writer = await asyncio.open_connection(*self._address)
        first = await receive()
        asking = asyncio.ensure_future(_ask(writer, scope, first, receive))
        answering = asyncio.ensure_future(_answer(reader, scope["method"], send))
        try:
            await asyncio.wait([asking, answering], return_when=asyncio.FIRST_EXCEPTION)
            await answering
        finally:
            for task in (asking, answering):
                task.cancel()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _ask(writer: asyncio.StreamWriter, scope: Mapping[str, Any], message: Any, receive: Receive) -> None:
    headers = [*scope["headers"]]
    names = {name for name, _ in headers}
    if b"x-forwarded-for" not in names:
        headers.append((b"x-forwarded-for", scope["client"][0].encode()))
    chunked = message["more_body"] and not names & {b"content-length", b"transfer-encoding"}
    if chunked:
        headers.append((b"transfer-encoding", b"chunked"))
    elif message["body"] and not names & {b"content-length", b"transfer-encoding"}:
        headers.append((b"content-length", b"%d" % len(message["body"])))
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    lines = [b"%s %s%s HTTP/1.1" % (scope["method"].encode(), scope["raw_path"], query)]
    lines += [b"%s: %s" % header for header in headers]
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
    while True:
        body = message["body"]
        if body:
            writer.write(b"%x\r\n%s\r\n" % (len(body), body) if chunked else body)
            await writer.drain()
        if not message["more_body"]:
            break
        message = await receive()
    if chunked:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


class _Parsed:
    """The parts of an answer that httptools parses."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.begun = self.ended = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.begun = True

    def on_body(self, piece: bytes) -> None:
        self.body.append(piece)

    def on_message_complete(self) -> None:
        self.ended = True


async def _answer(reader: asyncio.StreamReader, method: str, send: Send) -> None:
    parsed, started = _Parsed(), False
    parser = httptools.HttpResponseParser(parsed)
    while not parsed.ended:
        piece = await reader.read(READ_BYTES)
        if not piece:
            break
        parser.feed_data(piece)
        if parsed.begun and not started:
            started = True
            await send({"type": "http.response.start", "status": parser.get_status_code(), "headers": parsed.headers})
        if started and method == "HEAD":
            break
        for part in parsed.body:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        parsed.body.clear()
    if started:
        await send({"type": "http.response.body", "body": b""})
