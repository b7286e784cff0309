"""Encodes requests as bytes for a connection: with whole or broken framing, in pieces, with pauses, or cut off."""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.fuzz.mutations import mutated
from tests.fuzz.requests import Request
from tests.fuzz.values import CODINGS, FIRST_LINES, LENGTHS, LINES, SIZES, TRAILERS


class Script(NamedTuple):
    """The bytes that one connection sends.

    A `well_framed` script holds only whole requests, and the last one ends the connection: it must be answered.
    A script that `leaves` closes without reading; if it `resets`, it aborts the connection.
    """

    pieces: tuple[bytes, ...]
    pause: float = 0.0
    well_framed: bool = False
    leaves: bool = False
    resets: bool = False

    @property
    def sent(self) -> bytes:
        return b"".join(self.pieces)


def script(seeds: Sequence[Request], chance: random.Random, tag: str) -> Script:
    """Return the script of one connection; `tag` is the request id of all its requests."""
    count = chance.choice((1, 1, 1, 1, 2, 3, 8))
    requests = [mutated(chance.choice(seeds), chance) for _ in range(count)]
    requests = [
        one._replace(headers=((b"X-Request-Id", tag.encode()), *one.headers))
        if all(name != b"X-Request-Id" for name, _ in one.headers)
        else one
        for one in requests
    ]
    if chance.random() < 0.6:
        data = [encoded(one, chance, last=number == count - 1) for number, one in enumerate(requests)]
        return _delivered(b"".join(data), chance, well_framed=True)
    broken = chance.randrange(count)
    data = [
        chance.choice(_BREAKS)(one, chance) if number == broken else encoded(one, chance, last=number == count - 1)
        for number, one in enumerate(requests)
    ]
    return _delivered(b"".join(data), chance, well_framed=False)


def encoded(request: Request, chance: random.Random, *, last: bool) -> bytes:
    """Return the bytes of a well-framed request, with a content length or in chunks."""
    chunked = bool(request.body) and chance.random() < 0.2
    lines = [*request.headers]
    if chunked:
        lines.append((b"Transfer-Encoding", b"chunked"))
    elif request.body or request.method not in {b"GET", b"HEAD", b"OPTIONS"}:
        lines.append((b"Content-Length", b"%d" % len(request.body)))
    if last:
        lines.append((b"Connection", b"close"))
    body = _chunks(request.body, chance) + b"0\r\n\r\n" if chunked else request.body
    return _head(request, lines) + body


def _head(request: Request, lines: list[tuple[bytes, bytes]]) -> bytes:
    first = b"%b %b HTTP/1.1\r\n" % (request.method, request.target)
    return first + b"".join(b"%b: %b\r\n" % line for line in lines) + b"\r\n"


def _chunks(body: bytes, chance: random.Random) -> bytes:
    found, size = [], chance.choice((1, 7, 1000, 100_000))
    size = max(size, len(body) // 50)
    for start in range(0, len(body), size):
        piece = body[start : start + size]
        found.append(b"%x\r\n%b\r\n" % (len(piece), piece))
    return b"".join(found)


def _broken_length(request: Request, chance: random.Random) -> bytes:
    lengths = [(b"Content-Length", value) for value in chance.choices(LENGTHS, k=chance.choice((1, 1, 2)))]
    true = (b"Content-Length", b"%d" % (len(request.body) + chance.choice((-1, 0, 1, 50))))
    return _head(request, [*request.headers, *lengths, *([true] if chance.random() < 0.5 else [])]) + request.body


def _broken_coding(request: Request, chance: random.Random) -> bytes:
    lines = [*request.headers, (b"Transfer-Encoding", chance.choice(CODINGS))]
    if chance.random() < 0.4:
        lines.append((b"Content-Length", b"%d" % len(request.body)))
    return _head(request, lines) + _chunks(request.body, chance) + b"0\r\n" + chance.choice(TRAILERS)


def _broken_chunks(request: Request, chance: random.Random) -> bytes:
    sizes = b"".join(
        chance.choice(SIZES) + chance.choice((b"\r\n", b"\n", b"")) + b"{}\r\n" for _ in range(chance.randint(1, 3))
    )
    end = chance.choice((b"", b"0", b"0\r\n" + chance.choice(TRAILERS), b"0\r\n\r\n", b"\r\n", b"ZZ\r\n"))
    good = _chunks(request.body, chance)
    return (
        _head(request, [*request.headers, (b"Transfer-Encoding", b"chunked")])
        + chance.choice((good, b""))
        + sizes
        + end
    )


def _broken_line(request: Request, chance: random.Random) -> bytes:
    lines = encoded(request, chance, last=False).split(b"\r\n")
    head = next((number for number, line in enumerate(lines) if not line), 1)
    index = chance.randint(1, max(1, head))
    joined = b"\r\n".join(lines[:index]) + b"\r\n" + chance.choice(LINES)
    return joined + b"\r\n".join(lines[index:])


def _broken_first_line(request: Request, chance: random.Random) -> bytes:
    whole = encoded(request, chance, last=False)
    return chance.choice(FIRST_LINES) + chance.choice((whole, whole.partition(b"\r\n")[2]))


def _broken_bytes(request: Request, chance: random.Random) -> bytes:
    data = encoded(request, chance, last=False)
    for _ in range(chance.choice((1, 1, 2, 8))):
        cut = chance.randint(0, min(len(data), 1500))
        data = (
            data[:cut] + chance.randbytes(chance.choice((0, 1, 1, 3))) + data[cut + chance.choice((0, 0, 1, 1, 40)) :]
        )
    return data


def _cut(request: Request, chance: random.Random) -> bytes:
    data = encoded(request, chance, last=True)
    return data[: chance.randint(0, len(data))]


_BREAKS: tuple[Callable[[Request, random.Random], bytes], ...] = (
    *(_broken_length, _broken_coding, _broken_chunks, _broken_line, _broken_first_line, _broken_bytes, _cut),
)


def _delivered(data: bytes, chance: random.Random, *, well_framed: bool) -> Script:
    leaves = chance.random() < 0.05
    resets = leaves and chance.random() < 0.5
    if leaves:
        data = data[: chance.randint(0, len(data))]
    pieces: tuple[bytes, ...] = (data,)
    if chance.random() < 0.2 and data:
        cuts = sorted(chance.sample(range(len(data) + 1), k=min(len(data), chance.choice((1, 2, 5, 20)))))
        pieces = tuple(data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True))
    pause = chance.choice((0.0, 0.001, 0.01, 0.05)) if len(pieces) > 1 else 0.0
    return Script(pieces, pause, well_framed and not leaves, leaves, resets)
