"""One client's connection: uvicorn's protocol, with bounds on the size and the duration of a head."""

import asyncio
import re
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from annals.app.edge.error_answers import domain_error_answer
from annals.domain.errors import BadRequest

HEAD_BYTES = 64 * 1024
HEAD_LINES = 100
"""Most bytes of a request's path and headers together, and most headers."""

HEAD_SECONDS = 30.0
"""Seconds for a connection's first request to arrive, and for each head from its first byte on."""

_FED = HEAD_BYTES + 8 * HEAD_LINES
"""Most bytes of an incomplete head: path, headers, and the separators between them."""

STATUS_LINE.update({status: b"HTTP/1.1 %d \r\n" % status for status in range(600, 1000)})
"""A function may answer with any status of three digits on its own host name; uvicorn knows those below 600."""

_BROKEN = "The request is not valid HTTP/1.1, or ambiguous. Check its first line, its headers and its length."
_TOO_LARGE = f"The request's head is too large: at most {HEAD_LINES} headers, {HEAD_BYTES} bytes with the path."


class HttpConnection(HttpToolsProtocol):
    """Also knows whether a request may still arrive, for a process that is about to stop."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._heading = self._began = False
        self._head_bytes = self._head_lines = self._head_fed = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._error_sentence = _BROKEN
        self._ignores_input = self._served = False
        self._running: RequestResponseCycle | None = None
        self._active = self.loop.time()

    @property
    def busy(self) -> bool:
        """True if a request is being answered, or waits for the one before it."""
        return self.cycle is not None and not self.cycle.response_complete

    def expects(self, *, first: float, silent: float) -> bool:
        """Return True if a request is here or may come: the first within `first` seconds, another within `silent`
        seconds."""
        if self.transport.is_closing():
            return False
        return self.busy or self.loop.time() - self._active < (silent if self._served else first)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the request that is being answered: uvicorn notifies the last one that came, which may only wait."""
        self._head_has_come()
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

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
                self._require(self._head_fed <= _FED)
        except (httptools.HttpParserError, _HeadTooLarge):
            self._answer_error()
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

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_lines += 1
        self._count(len(name) + len(value))
        if self._heading:  # trailers after the body are ignored
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._heading, self._served = False, True
        self._head_has_come()
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
            self.transport.close()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        self._require(self._head_bytes <= HEAD_BYTES and self._head_lines <= HEAD_LINES)

    def _require(self, bounded: bool) -> None:
        if not bounded:
            self._error_sentence = _TOO_LARGE
            raise _HeadTooLarge

    def _answer_error(self) -> None:
        """Answer an unreadable request after the answers to the requests before it, and read no more."""
        self._ignores_input = True
        cycle = self.cycle
        if self.busy and not cycle.more_body:
            cycle.keep_alive = False
            return
        if not (self.busy and cycle.response_started):
            self.transport.write(_bad_request(self._error_sentence))
        self.transport.close()

    def _await_head(self) -> None:
        if self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_has_come(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _HeadTooLarge(Exception):
    """Ends the parsing of a head."""


def _bad_request(sentence: str) -> bytes:
    answer = domain_error_answer(BadRequest(sentence))
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body)), (b"connection", b"close")]
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"%s%s\r\n%s" % (STATUS_LINE[answer.status], lines, answer.body)
