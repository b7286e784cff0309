"""One client's connection: uvicorn's protocol, with bounds on the size and the duration of a head."""

import asyncio
import math
import re
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

LINGER_SECONDS = 2.0
"""Seconds in which input after an early answer is discarded: closing earlier could reset the connection and destroy
the answer on its way."""

STATUS_LINE.update({status: b"HTTP/1.1 %d \r\n" % status for status in range(600, 1000)})
"""A function may answer with any status of three digits on its own host name; uvicorn knows those below 600."""


class Bounds(NamedTuple):
    """Bounds of a server's connections, and of the heads of their requests."""

    head_bytes: int = 64 * 1024
    """Most bytes of a request's target and headers together."""
    target_bytes: int = 64 * 1024
    head_lines: int = 100
    head_seconds: float = 30.0
    """Seconds for a connection's first request to arrive, and for each head from its first byte on."""
    silent_seconds: float = 75.0
    """Seconds that a connection may be silent between two requests. Most clients keep one for a shorter time."""
    waiting: float = math.inf
    """Most requests of a connection that wait for the answers to earlier ones."""
    connections: float = math.inf

    @property
    def fed_bytes(self) -> int:
        """Return the most bytes of an incomplete head: target, headers, and the separators between them."""
        return self.head_bytes + 8 * self.head_lines


class Rejection(Enum):
    """Reasons to answer a request before the application sees it."""

    BROKEN = "The request is not valid HTTP/1.1, or ambiguous. Check its first line, its headers and its length."
    TOO_LARGE = "The request's head is too large."
    TOO_MANY = "Too many connections are open, or too many requests wait on this connection."


class RejectionAnswer(NamedTuple):
    """A whole answer; the connection adds the headers that frame it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class HttpConfig(uvicorn.Config):
    """The configuration of a server: its application, its bounds, and the answers to rejected requests."""

    def __init__(self, app: Any, reject: Callable[[Rejection], RejectionAnswer], bounds: Bounds) -> None:
        super().__init__(
            app,
            http=HttpConnection,
            ws="none",
            loop="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        self.timeout_keep_alive = bounds.silent_seconds  # type: ignore[assignment]  # whole seconds by type alone
        self.reject = reject
        self.bounds = bounds


class HttpConnection(HttpToolsProtocol):
    """Also knows whether a request may still arrive, for a process that is about to stop."""

    config: HttpConfig

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._bounds = self.config.bounds
        self._most_bytes, self._most_lines = self._bounds.head_bytes, self._bounds.head_lines  # read for every header
        self._heading = self._began = False
        self._head_bytes = self._head_lines = self._head_fed = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._rejection = Rejection.BROKEN
        self._ignores_input = self._served = False
        self._running: RequestResponseCycle | None = None
        self._active = self.loop.time()

    @property
    def busy(self) -> bool:
        """True if a request is being answered, or waits for the one before it."""
        return self.cycle is not None and not (self.cycle.response_complete or self.cycle.disconnected)

    def expects(self, *, first: float, silent: float) -> bool:
        """Return True if a request is here or may come: the first within `first` seconds, another within `silent`
        seconds."""
        if self.transport.is_closing():
            return False
        quiet = self.loop.time() - self._active
        return self.busy or (not self._ignores_input and quiet < (silent if self._served else first))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self._bounds.connections:
            self._rejection = Rejection.TOO_MANY
            self._answer_rejection()

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the request that is being answered: uvicorn notifies the last one that came, which may only wait."""
        self._head_has_come()
        super().connection_lost(exc)
        _disconnect(self._running)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        if self._ignores_input:
            return
        self._active = self.loop.time()
        self._began = False
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
            if self._heading and not self._began:
                self._head_fed += len(data)
                self._require(self._head_fed <= self._bounds.fed_bytes)
        except (httptools.HttpParserError, _Rejected):
            self._answer_rejection()
        else:
            if self._heading or not self.busy:
                self._await_head()

    def _feed(self, data: bytes) -> None:
        """Feed the parser. A request for another protocol is answered in this one, and so are the requests after it."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
            else:
                return

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._heading = self._began = True
        self._head_bytes = self._head_lines = self._head_fed = 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)
        self._require(len(self.url) <= self._bounds.target_bytes)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_lines += 1
        self._count(len(name) + len(value))
        if self._heading:  # trailers after the body are ignored
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._heading, self._served = False, True
        self._head_has_come()
        if self.pipeline:
            self._require(len(self.pipeline) < self._bounds.waiting, Rejection.TOO_MANY)
        if self.url.startswith((b"http://", b"https://")):
            self._name_host_of_url()
        elif not self.url.startswith(b"/"):  # `*`, or the host of a CONNECT request
            self.url = b"/" + self.url
        super().on_headers_complete()

    def _name_host_of_url(self) -> None:
        """Add the host of a whole URL to the Host headers unless it is there: a request with two hosts is rejected.

        A proxy and this server could otherwise choose different hosts (RFC 9112, 3.2.2).
        """
        named = re.split(rb"[/?#]", self.url.partition(b"://")[2], maxsplit=1)[0]
        if all(value.lower() != named.lower() for name, value in self.headers if name == b"host"):
            self.headers.append((b"host", named))

    def on_response_complete(self) -> None:
        self._active = self.loop.time()
        unread = self.cycle.response_complete and self.cycle.more_body
        super().on_response_complete()
        if unread:  # the request was answered before its body was read: drop the rest
            self._close_after_answer()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        self._require(self._head_bytes <= self._most_bytes and self._head_lines <= self._most_lines)

    def _require(self, bounded: bool, rejection: Rejection = Rejection.TOO_LARGE) -> None:
        if not bounded:
            self._rejection = rejection
            raise _Rejected

    def _answer_rejection(self) -> None:
        """Answer an unreadable request after the answers to the requests before it, and read no more."""
        self._ignores_input = True
        cycle = self.cycle
        if self.busy and not cycle.more_body:
            cycle.keep_alive = False
            return
        if not (self.busy and cycle.response_started):
            self.transport.write(_encoded(self.config.reject(self._rejection)))
        self._close_after_answer()

    def _close_after_answer(self) -> None:
        """Send no more, and discard input until the client closes the connection or has had time to read the answer."""
        if self.transport.is_closing():
            return
        self._ignores_input = True
        self._head_has_come()
        self._unset_keepalive_if_required()
        _disconnect(self._running)
        _disconnect(self.cycle)
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _await_head(self) -> None:
        if self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self._bounds.head_seconds, self.transport.close)

    def _head_has_come(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _Rejected(Exception):
    """Ends the parsing of a request."""


def _disconnect(cycle: RequestResponseCycle | None) -> None:
    """Let a request that is not answered yet see that its client is gone."""
    if cycle is not None and not cycle.response_complete:
        cycle.disconnected, cycle.waiting_for_100_continue = True, False
        cycle.message_event.set()


def _encoded(answer: RejectionAnswer) -> bytes:
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body)), (b"connection", b"close")]
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"%s%s\r\n%s" % (STATUS_LINE[answer.status], lines, answer.body)
