"""An HTTP/1.1 client for function servers, with keep-alive and low overhead. Responses are not trusted.

One file because it is about one thing: requests to one instance.
"""

import asyncio
import os
import socket
import stat
import time
from typing import NamedTuple, cast

import httptools

from annals.executor.drivers.port import TcpAddress, UnixAddress
from annals.executor.logs.throttle import Rates, Throttle

HEADER_BYTES = 64 * 1024
HEADER_COUNT = 256
PIECES = 65_536
PIECE_OVERHEAD = 16
"""Limits on the number of chunks or reads of a body, and on the bytes of framing of each."""

SLICE = 16 * 1024
TURN_SECONDS = 0.002
"""The clock is read after so many parsed bytes; other tasks run after so many seconds of parsing."""

SMALL_READS = Rates(size=float("inf"), items=float("inf"), reads=1_000, cpu=float("inf"))
BURST_SECONDS = 0.5
"""Limits on small reads that do not complete a response."""

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"te", b"trailer", b"upgrade")
)


TOO_MANY_PIECES = f"The response came in more than {PIECES:,} pieces."
TOO_MANY_HEADERS = f"The response has more than {HEADER_COUNT} headers, or more than {HEADER_BYTES:,} bytes of them."


class FunctionResponse(NamedTuple):
    """A complete response. Header names are in lower case; order and repeated headers are kept."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class ConnectionBroken(Exception):
    """The connection ended, or the response was not HTTP; it is unknown whether the code ran."""


class ResponseTooLarge(Exception):
    """The response exceeded a limit; the message says which."""


class InstanceConnection(asyncio.Protocol):
    """One connection with one request at a time. `reusable` says whether another request may follow."""

    def __init__(self, body_limit: int) -> None:
        self.reusable = False
        self._body_limit = body_limit
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[FunctionResponse] | None = None
        self._head_only = False
        self._throttle = Throttle(SMALL_READS, BURST_SECONDS)
        self._next: asyncio.Handle | None = None
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._received = 0
        self._data, self._at = b"", 0
        self._clear()

    def _clear(self) -> None:
        self._headers: list[tuple[str, str]] = []
        self._header_bytes = 0
        self._body = bytearray()
        self._pieces = 0
        self._in_body = False
        self._framed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is none of asyncio's

    def connection_lost(self, _: Exception | None) -> None:
        self.reusable = False
        if self._waiter and not self._waiter.done():
            if self._in_body and not self._framed:  # the end of the connection ends such a body
                self._complete()
            else:
                self._waiter.set_exception(ConnectionBroken("The connection to the instance was lost."))

    def data_received(self, data: bytes) -> None:
        self._data, self._at = self._data[self._at :] + data, 0
        if self._next is None:
            self._turn(read=len(data))

    def _turn(self, *, read: int = 0) -> None:
        """Parse for a moment; then read more, or schedule the rest so that other tasks run in between."""
        self._next = None
        until = time.thread_time() + TURN_SECONDS
        while self._at < len(self._data):
            if self._waiter is None or self._waiter.done():
                self.close()  # there is no request that this could answer
                return
            piece = self._data[self._at : self._at + SLICE]
            self._at += len(piece)
            self._parse(piece)
            if time.thread_time() >= until:
                break
        if self._transport is None or self._transport.is_closing():
            return
        waiting = self._waiter is not None and not self._waiter.done()
        wait = self._throttle.read(read) if read and waiting else 0.0
        if wait or self._at < len(self._data):
            self._transport.pause_reading()
            self._next = asyncio.get_running_loop().call_later(wait, self._turn)
        else:
            self._transport.resume_reading()

    def _parse(self, data: bytes) -> None:
        assert self._waiter is not None  # noqa: S101 only responses to a request are parsed
        try:
            self._parser.feed_data(data)
            self._received += len(data)
            most = 2 * HEADER_BYTES  # the parser keeps an unfinished header to itself
            if self._in_body:
                most += self._body_limit + PIECES * PIECE_OVERHEAD
            if self._received > most and not self._waiter.done():
                self._fail(ResponseTooLarge(TOO_MANY_PIECES if self._in_body else TOO_MANY_HEADERS))
        except httptools.HttpParserUpgrade:
            self._fail(ConnectionBroken("The instance tried to switch protocols."))
        except httptools.HttpParserCallbackError as stop:
            cause = stop.__context__
            if not isinstance(cause, ResponseTooLarge):
                cause = ConnectionBroken("The instance's response was invalid.")
            self._fail(cause)
        except httptools.HttpParserError:
            if not self._waiter.done():
                self._fail(ConnectionBroken("The instance did not answer in HTTP."))

    def on_message_begin(self) -> None:
        if self._waiter is None or self._waiter.done():
            self.close()  # a second response to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_BYTES or len(self._headers) >= HEADER_COUNT:
            raise ResponseTooLarge(TOO_MANY_HEADERS)
        lower = name.lower()
        if lower in (b"content-length", b"transfer-encoding"):
            self._framed = True
        if lower not in HOP_BY_HOP:
            self._headers.append((lower.decode("latin-1"), _text(value)))

    def on_headers_complete(self) -> None:
        self._in_body = True
        if self._head_only:
            self._complete()

    def on_body(self, body: bytes) -> None:
        self._pieces += 1
        if self._pieces > PIECES:
            raise ResponseTooLarge(TOO_MANY_PIECES)
        if len(self._body) + len(body) > self._body_limit:
            raise ResponseTooLarge(f"The response is larger than {self._body_limit:,} bytes.")
        self._body += body

    def on_message_complete(self) -> None:
        if 100 <= self._parser.get_status_code() < 200:
            self._clear()  # the final response follows; `_received` still counts these bytes
            return
        self._complete()

    def _complete(self) -> None:
        if self._waiter and not self._waiter.done():
            self.reusable = not self._head_only and self._parser.should_keep_alive()
            self._waiter.set_result(FunctionResponse(self._parser.get_status_code(), self._headers, bytes(self._body)))

    def _fail(self, error: Exception) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_exception(error)
        self.close()

    def close(self) -> None:
        self.reusable = False
        if self._next:
            self._next.cancel()
        self._data, self._at = b"", 0
        if self._transport:
            self._transport.abort()

    async def request(self, method: str, head: bytes, body: bytes) -> FunctionResponse:
        """Send one request, given as bytes; cancelling closes the connection.

        Raises ConnectionBroken or ResponseTooLarge.
        """
        assert self._transport is not None  # noqa: S101 `connect` returns only connected ones
        self._reset()
        self._head_only = method == "HEAD"
        self.reusable = False
        self._waiter = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            raise ConnectionBroken("The connection to the instance was lost.")
        self._transport.writelines((head, body) if body else (head,))
        try:
            return await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._waiter = None


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def request_head(method: str, target: str, headers: list[tuple[str, str]], length: int) -> bytes:
    """Return the bytes before the body. Raises ValueError if a field contains a line break."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if length or method not in ("GET", "HEAD", "DELETE", "OPTIONS"):
        lines.append(f"content-length: {length}")
    text = "\r\n".join(lines)
    if text.count("\r\n") != len(lines) - 1 or text.count("\n") != len(lines) - 1 or "\0" in text:
        raise ValueError("a header or the path holds a line break")
    return (text + "\r\n\r\n").encode("utf-8", "surrogateescape")


class InstanceEndpoint:
    """The address of an instance, and idle connections to it."""

    def __init__(self, address: UnixAddress | TcpAddress, body_limit: int) -> None:
        self._address = address
        self._body_limit = body_limit
        self._idle: list[InstanceConnection] = []
        self._pinned = -1

    def pin(self) -> bool:
        """Open the socket file that exists now, since user code could replace it by a link later.

        Return False if there is none. A TCP address needs no pin.
        """
        if isinstance(self._address, TcpAddress) or self._pinned >= 0:
            return True
        folder = os.open(self._address.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fd = os.open(self._address.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return False
        finally:
            os.close(folder)
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            os.close(fd)
            return False
        self._pinned = fd
        return True

    async def connect(self) -> InstanceConnection:
        """Return an idle connection, or a new one. Raises OSError."""
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        loop = asyncio.get_running_loop()
        if isinstance(self._address, TcpAddress):
            _, connection = await loop.create_connection(
                lambda: InstanceConnection(self._body_limit), self._address.host, self._address.port
            )
            return connection
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(f"/proc/self/fd/{self._pinned}")  # never blocks: accepted or refused at once
        except BaseException:
            sock.close()
            raise
        _, connection = await loop.create_unix_connection(lambda: InstanceConnection(self._body_limit), sock=sock)
        return connection

    def give_back(self, connection: InstanceConnection) -> None:
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        if self._pinned >= 0:
            os.close(self._pinned)
            self._pinned = -1
