"""Strict parsing of HTTP/1.1 request heads and chunked bodies, without IO."""

from __future__ import annotations

import re

MAX_HEAD = 128 * 1024
MAX_HEADERS = 512
MAX_CHUNK_LINE = 4096

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - RFC 9110's token, no secret
REQUEST_LINE = re.compile(rf"({TOKEN}) ([^\x00-\x20\x7f]+) HTTP/1\.([01])").fullmatch
HEADER_LINE = re.compile(rf"({TOKEN}):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)").fullmatch
HEADER_NAME = re.compile(TOKEN).fullmatch
HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udc7f\udd00-\udfff]*").fullmatch  # what came in may go out
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?").fullmatch


class Malformed(Exception):
    """The bytes are not a valid HTTP/1.1 request; `status` is the status of the reply."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Head:
    """One request's line and headers. `length` is the body's, or None if it is chunked."""

    __slots__ = ("expects", "headers", "keep_alive", "length", "method", "target")

    def __init__(self, data: bytes) -> None:
        lines = data.decode("utf-8", "surrogateescape").split("\r\n")
        line = REQUEST_LINE(lines[0])
        if line is None:
            raise Malformed(400, "Malformed request line.")
        if len(lines) > MAX_HEADERS + 1:
            raise Malformed(431, "Too many request headers.")
        method, self.target, minor = line.groups()
        self.method = method.upper()
        self.headers = headers = parse_headers(lines)
        if minor == "1" and "host" not in headers:
            raise Malformed(400, "Missing host header.")
        connection = headers.get("connection", "").lower()
        self.keep_alive = "close" not in connection if minor == "1" else "keep-alive" in connection
        self.expects = minor == "1" and headers.get("expect", "").lower() == "100-continue"
        self.length = body_length(headers)


def parse_headers(lines: list[str]) -> dict[str, str]:
    """Return headers with names in lower case. Repeated ones are joined as lists (RFC 9110 §5.3), cookies by `; `."""
    headers: dict[str, str] = {}
    for index in range(1, len(lines)):
        match = HEADER_LINE(lines[index])
        if match is None:
            raise Malformed(400, "Malformed request header.")
        name, value = match.groups()
        name, value = name.lower(), value.rstrip(" \t")
        if name not in headers:
            headers[name] = value
        elif name in {"host", "transfer-encoding", "content-length"}:
            raise Malformed(400, f"Repeated {name} header.")
        else:
            headers[name] += ("; " if name == "cookie" else ", ") + value
    return headers


def body_length(headers: dict[str, str]) -> int | None:
    """Return the body's length. Raises Malformed for headers that parsers read differently (request smuggling)."""
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is not None:
        if length is not None:
            raise Malformed(400, "Both content-length and transfer-encoding.")
        if coding.lower() != "chunked":
            raise Malformed(501, "Unknown transfer encoding.")
        return None
    if length is None:
        return 0
    if not (length.isascii() and length.isdigit() and len(length) <= 15):
        raise Malformed(400, "Malformed content-length header.")
    return int(length)


class Chunks:
    """Decodes a chunked body while it arrives."""

    __slots__ = ("done", "left", "state", "trailer")

    def __init__(self) -> None:
        self.state = "size"
        self.left = 0
        self.trailer = 0
        self.done = False

    def feed(self, buffer: bytearray) -> bytes:
        """Decode and remove the front of `buffer`; `done` says that the body is complete. Raises Malformed."""
        parts: list[bytes] = []
        while not self.done:
            if self.state == "data":
                part = bytes(buffer[: self.left])
                del buffer[: self.left]
                parts.append(part)
                self.left -= len(part)
                if self.left:
                    break
                self.state = "end"
            line = self.line(buffer)
            if line is None:
                break
            self.step(line)
        return b"".join(parts)

    def line(self, buffer: bytearray) -> bytes | None:
        end = buffer.find(b"\r\n")
        if end > MAX_CHUNK_LINE or (end < 0 and len(buffer) > MAX_CHUNK_LINE):
            raise Malformed(400, "Chunk line too long.")
        if end < 0:
            return None
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        return line

    def step(self, line: bytes) -> None:
        if self.state == "size":
            match = CHUNK_LINE(line)
            if match is None:
                raise Malformed(400, "Malformed chunk size.")
            self.left = int(match[1], 16)
            self.state = "data" if self.left else "trailer"
        elif self.state == "end":
            if line:
                raise Malformed(400, "Chunk longer than its size.")
            self.state = "size"
        elif not line:
            self.done = True
        else:
            self.trailer += len(line)
            if self.trailer > MAX_HEAD:
                raise Malformed(431, "Trailer too large.")
