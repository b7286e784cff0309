"""An HTTP/1.1 server for few, trusted and possibly broken callers: keep-alive, one request at a time, all bounded."""

import asyncio
from collections import deque
from contextlib import aclosing
from typing import cast
from urllib.parse import parse_qsl

import httptools
import structlog

from annals.executor.open_runtimes.errors import ApiError
from annals.executor.open_runtimes.wire import Handler, Reply, Request, WorkerLimiter, refused

log = structlog.get_logger()

BODY_BYTES = 22 * 1024 * 1024
HEAD_BYTES = 128 * 1024
HEADERS = 200
TARGET_BYTES = 8 * 1024
HELD_BYTES = 256 * 1024 * 1024
CONNECTIONS = 512
WAITING = 16
SILENT_SECONDS = 60.0
LINGER_SECONDS = 2.0
QUERY_FIELDS = 100


class Server:
    """Listens and hands requests to `handler`, once `gate` has let their heads pass."""

    def __init__(self, limiter: WorkerLimiter, handler: Handler) -> None:
        self.limiter, self.handler = limiter, handler
        self.held = 0
        """Bytes of bodies that are in memory, of all connections."""
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> tuple[str, int]:
        """Where it listens. Raises OSError."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), host, port)
        address = self._server.sockets[0].getsockname()
        return str(address[0]), int(address[1])

    async def close(self) -> None:
        """Close every connection."""
        if self._server is not None:
            self._server.close()
        tasks = [connection.abort() for connection in tuple(self.connections)]
        await asyncio.gather(*[task for task in tasks if task], return_exceptions=True)


class _Connection(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._working: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._timer: asyncio.TimerHandle | None = None
        self._over = self._streaming = False
        self._clear()

    def _clear(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._count = self._head_bytes = 0
        self._body = bytearray()
        self._in_body = False
        self._raw = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is none of asyncio's
        self._server.connections.add(self)
        self._expect()
        if len(self._server.connections) > CONNECTIONS:
            self._end_with(refused(ApiError("general_overloaded")))

    def connection_lost(self, _: Exception | None) -> None:
        self._over = True
        self._writable.set()
        self._server.connections.discard(self)
        self._server.held -= len(self._body) + sum(len(request.body) for request, _ in self._waiting)
        self._body, self._waiting = bytearray(), deque()
        if self._timer:
            self._timer.cancel()
        if self._streaming and self._working:
            self._working.cancel()

    def abort(self) -> "asyncio.Task[None] | None":
        if self._transport:
            self._transport.abort()
        if self._working:
            self._working.cancel()
        return self._working

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _expect(self, seconds: float = SILENT_SECONDS) -> None:
        """Hang up unless something comes in time."""
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._silent)

    def _silent(self) -> None:
        if self._transport and not (self._working or self._waiting):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        if self._in_body:  # a head has its time once, however slowly it comes
            self._expect()
        try:
            self._raw = 0 if self._in_body else self._raw + len(data)
            self._parser.feed_data(data)
            if not self._in_body and self._raw > 2 * HEAD_BYTES:  # the parser keeps an unfinished header to itself
                self._end_with(refused(ApiError("general_request_too_large")))
        except httptools.HttpParserCallbackError as stop:
            cause = stop.__context__
            self._end_with(refused(cause if isinstance(cause, ApiError) else ApiError("general_argument_invalid")))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._end_with(refused(ApiError("general_argument_invalid", "The request is not HTTP/1.1.")))

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > TARGET_BYTES:
            raise ApiError("general_request_too_large")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        self._head_bytes += len(name) + len(value)
        if self._count > HEADERS or self._head_bytes > HEAD_BYTES:
            raise ApiError("general_request_too_large")
        self._headers.setdefault(name.decode("latin-1").lower(), value.decode("utf-8", "replace"))

    def on_headers_complete(self) -> None:
        self._in_body = True
        self._server.limiter(self._request(b""))
        length = self._headers.get("content-length", "0")
        if length.isdecimal() and int(length[:12]) > BODY_BYTES:
            raise ApiError("general_request_too_large")
        if self._headers.get("expect", "").lower() == "100-continue" and self._transport and not self._working:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, piece: bytes) -> None:
        if len(self._body) + len(piece) > BODY_BYTES:
            raise ApiError("general_request_too_large")
        if self._server.held + len(piece) > HELD_BYTES:
            raise ApiError("general_overloaded")
        self._server.held += len(piece)
        self._body += piece

    def on_message_complete(self) -> None:
        if len(self._waiting) >= WAITING:
            raise ApiError("general_overloaded")
        self._waiting.append((self._request(bytes(self._body)), bool(self._parser.should_keep_alive())))
        self._clear()
        if self._transport:
            self._transport.pause_reading()
        if self._working is None:
            self._working = asyncio.create_task(self._work())

    def _request(self, body: bytes) -> Request:
        path, _, query = self._target.decode("latin-1").partition("?")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=QUERY_FIELDS)
        except ValueError:
            raise ApiError("general_argument_invalid", "The query has too many fields.") from None
        method = self._parser.get_method().decode("latin-1")
        return Request(method=method, path=path, query=dict(pairs), headers=self._headers, body=body)

    async def _work(self) -> None:
        """Answer what was asked, in its order."""
        try:
            while self._waiting and not self._over:
                request, store_artefact = self._waiting.popleft()
                try:
                    reply = await self._answer(request)
                finally:
                    self._server.held -= len(request.body)
                await self._send(reply, store_artefact=store_artefact)
                if not store_artefact and self._transport:
                    self._transport.close()
                    return
        finally:
            self._working = None
        if self._transport and not self._over:
            self._expect()
            self._transport.resume_reading()

    async def _answer(self, request: Request) -> Reply:
        try:
            return await self._server.handler(request)
        except ApiError as error:
            return refused(error)
        except Exception:
            log.exception("facade.fault", path=request.path)
            return refused(ApiError("general_unknown"))

    async def _send(self, reply: Reply, *, store_artefact: bool) -> None:
        if self._transport is None or self._over:
            return
        self._transport.write(reply.head(store_artefact=store_artefact))
        if reply.stream is None:
            self._transport.write(reply.body)
            await self._writable.wait()
            return
        self._streaming = True
        self._transport.resume_reading()  # otherwise a disconnect would go unnoticed
        async with aclosing(reply.stream) as pieces:
            async for piece in pieces:
                self._transport.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                await self._writable.wait()
        self._streaming = False
        self._transport.write(b"0\r\n\r\n")

    def _end_with(self, reply: Reply) -> None:
        """Say what is wrong, then read no more: what was asked before is answered no more either."""
        self._over = True
        if self._transport:
            if not self._working:
                self._transport.write(reply.head(store_artefact=False) + reply.body)
            if self._transport.can_write_eof():
                self._transport.write_eof()
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)
