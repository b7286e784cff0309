"""An HTTP/1.1 client for function servers: keep-alive, cheap, and trusting nothing that comes back."""

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
"""In how many chunks or reads a body may come, and how many bytes of framing each of them may have."""

SLICE = 16 * 1024
TURN_SECONDS = 0.002
"""How much is parsed before the clock is looked at, and how long before others have their turn."""

SMALL_READS = Rates(size=float("inf"), items=float("inf"), reads=1_000, cpu=float("inf"))
BURST_SECONDS = 0.5
"""How many small reads a second may bring no end of an answer."""

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"te", b"trailer", b"upgrade")
)


TOO_MANY_PIECES = f"The response came in more than {PIECES:,} pieces."
TOO_MANY_HEADERS = f"The response has more than {HEADER_COUNT} headers, or more than {HEADER_BYTES:,} bytes of them."


class Answer(NamedTuple):
    """A complete response; header names are as the server wrote them, in order, repeats kept."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Broken(Exception):
    """The connection ended, or what came was not HTTP; nothing can be said about whether the code ran."""


class TooLarge(Exception):
    """The response broke a bound; the sentence says which."""


class Connection(asyncio.Protocol):
    """One connection, one request at a time. `reusable` says whether another request may follow."""

    def __init__(self, body_limit: int) -> None:
        self.reusable = False
        self._body_limit = body_limit
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None
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
            if self._in_body and not self._framed:  # such a body ends where the connection does
                self._complete()
            else:
                self._waiter.set_exception(Broken("The connection to the instance was lost."))

    def data_received(self, data: bytes) -> None:
        self._data, self._at = self._data[self._at :] + data, 0
        if self._next is None:
            self._turn(read=len(data))

    def _turn(self, *, read: int = 0) -> None:
        """Parse for a moment; then read on, or come back for the rest when others had their turn."""
        self._next = None
        until = time.thread_time() + TURN_SECONDS
        while self._at < len(self._data):
            if self._waiter is None or self._waiter.done():
                self.close()  # nothing was asked: whatever this is, it is no answer
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
        assert self._waiter is not None  # noqa: S101 only what was asked for is parsed
        try:
            self._parser.feed_data(data)
            self._received += len(data)
            most = 2 * HEADER_BYTES  # the parser keeps an unfinished header to itself
            if self._in_body:
                most += self._body_limit + PIECES * PIECE_OVERHEAD
            if self._received > most and not self._waiter.done():
                self._fail(TooLarge(TOO_MANY_PIECES if self._in_body else TOO_MANY_HEADERS))
        except httptools.HttpParserUpgrade:
            self._fail(Broken("The instance tried to switch protocols."))
        except httptools.HttpParserCallbackError as stop:
            cause = (
                stop.__context__ if isinstance(stop.__context__, TooLarge) else Broken("The instance's answer was odd.")
            )
            self._fail(cause)
        except httptools.HttpParserError:
            if not self._waiter.done():
                self._fail(Broken("The instance did not answer in HTTP."))

    def on_message_begin(self) -> None:
        if self._waiter is None or self._waiter.done():
            self.close()  # a second answer to one question

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_BYTES or len(self._headers) >= HEADER_COUNT:
            raise TooLarge(TOO_MANY_HEADERS)
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
            raise TooLarge(TOO_MANY_PIECES)
        if len(self._body) + len(body) > self._body_limit:
            raise TooLarge(f"The response is larger than {self._body_limit:,} bytes.")
        self._body += body

    def on_message_complete(self) -> None:
        if 100 <= self._parser.get_status_code() < 200:
            self._clear()  # the answer itself follows; what was received counts on
            return
        self._complete()

    def _complete(self) -> None:
        if self._waiter and not self._waiter.done():
            self.reusable = not self._head_only and self._parser.should_keep_alive()
            self._waiter.set_result(Answer(self._parser.get_status_code(), self._headers, bytes(self._body)))

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

    async def request(self, method: str, head: bytes, body: bytes) -> Answer:
        """Send one request, already written as bytes. Raises Broken or TooLarge; cancelling closes the connection."""
        assert self._transport is not None  # noqa: S101 a connection is handed out only when made
        self._reset()
        self._head_only = method == "HEAD"
        self.reusable = False
        self._waiter = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            raise Broken("The connection to the instance was lost.")
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
    """The bytes before the body. Raises ValueError for what would break out of its line."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if length or method not in ("GET", "HEAD", "DELETE", "OPTIONS"):
        lines.append(f"content-length: {length}")
    text = "\r\n".join(lines)
    if text.count("\r\n") != len(lines) - 1 or text.count("\n") != len(lines) - 1 or "\0" in text:
        raise ValueError("a header or the path holds a line break")
    return (text + "\r\n\r\n").encode("utf-8", "surrogateescape")


class Endpoint:
    """Where an instance listens, and the idle connections to it."""

    def __init__(self, address: UnixAddress | TcpAddress, body_limit: int) -> None:
        self._address = address
        self._body_limit = body_limit
        self._idle: list[Connection] = []
        self._pinned = -1

    def pin(self) -> bool:
        """Hold on to the very socket that is there now: user code could put a link in its place later.

        True once there is one. A TCP address needs no pin.
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

    async def connect(self) -> Connection:
        """An idle connection, or a new one. Raises OSError."""
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        loop = asyncio.get_running_loop()
        if isinstance(self._address, TcpAddress):
            _, made = await loop.create_connection(
                lambda: Connection(self._body_limit), self._address.host, self._address.port
            )
            return made
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(f"/proc/self/fd/{self._pinned}")  # does not wait: it is taken or refused at once
        except BaseException:
            sock.close()
            raise
        _, made = await loop.create_unix_connection(lambda: Connection(self._body_limit), sock=sock)
        return made

    def give_back(self, connection: Connection) -> None:
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
