"""Bounded views of a program's output: an excerpt of its first and last part, and its last lines alone."""

import asyncio
import codecs
import io
from collections import deque

KEPT_BYTES = 1_000_000
FIRST_BYTES = 750_000
_RESERVED_BYTES = 1_000
"""Space for the notice and for the worker's closing line, so that the recorded text stays within KEPT_BYTES."""
_LAST_BYTES = KEPT_BYTES - FIRST_BYTES - _RESERVED_BYTES


class Excerpt:
    """The beginning and the end of an output, which arrives in pieces. How it is cut into pieces makes no difference.

    Sizes are in UTF-8, after `\\r\\n` and `\\r` became `\\n`. An output of up to KEPT_BYTES is kept whole.
    """

    def __init__(self) -> None:
        self._decoder = _decoder()
        self._first = 0
        self._first_open = False
        self._rest = bytearray()
        self._dropped = 0

    def add(self, piece: bytes) -> str:
        """Add output; return its text that belongs to the first part and can be shown at once."""
        return self._take(self._decoder.decode(piece))

    def flush(self) -> str:
        """End an unfinished character or line end; return what this adds to the first part."""
        return self._take(self._decoder.decode(b"", final=True))

    def add_text(self, text: str) -> str:
        """Add text of the executor's own, such as a closing line; return as `add` does."""
        return self.flush() + self._take(text)

    def end(self) -> str:
        """Return all that `add` held back: the last part, after a notice if anything was left out."""
        text = self.flush()
        last = self._rest if self._whole() else _last(self._rest)
        left_out = self._dropped + len(self._rest) - len(last)
        if left_out:
            text += ("\n" if self._first_open else "") + notice(left_out)
        text += last.decode()
        self._rest, self._dropped = bytearray(), 0
        return text

    def _take(self, text: str) -> str:
        """Return the beginning of new text that still fits into the first part; keep the rest for the end."""
        data = text.encode("utf-8", "replace")
        shown = b""
        if not self._rest:
            shown = _first(data, FIRST_BYTES - self._first)
            self._first += len(shown)
            if shown:
                self._first_open = not shown.endswith(b"\n")
        self._rest += data[len(shown) :]
        if len(self._rest) > 2 * KEPT_BYTES:  # seldom, since it copies
            surplus = len(self._rest) - KEPT_BYTES
            del self._rest[:surplus]
            self._dropped += surplus
        return shown.decode()

    def _whole(self) -> bool:
        return not self._dropped and self._first + len(self._rest) <= KEPT_BYTES


def notice(left_out: int) -> str:
    """Return the line that stands in for omitted output."""
    return f"… {left_out:,} bytes left out …\n"


def _decoder() -> io.IncrementalNewlineDecoder:
    return io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)


def _first(data: bytes, most: int) -> bytes:
    """Return the longest beginning of UTF-8 text with at most `most` bytes that ends with a whole character."""
    if len(data) <= most:
        return data
    while most and _continues(data[most]):
        most -= 1
    return data[:most]


def _last(data: bytearray) -> bytearray:
    """Return the longest end of UTF-8 text with at most _LAST_BYTES that begins with a whole character."""
    start = max(0, len(data) - _LAST_BYTES)
    while start < len(data) and _continues(data[start]):
        start += 1
    return data[start:]


def _continues(byte: int) -> bool:
    return byte & 0xC0 == 0x80


STARTED = b"HTTP server successfully started!"
TAIL_BYTES = 8 * 1024


class Tail:
    """The last lines that a sandbox printed; `started` is set once its server has printed that it listens."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._carry = b""

    def add(self, piece: bytes) -> None:
        if not self.started.is_set():
            seen = self._carry + piece
            if STARTED in seen:
                self.started.set()
            self._carry = seen[-len(STARTED) :]
        self._pieces.append(piece[-TAIL_BYTES:])
        self._size += len(self._pieces[-1])
        while self._size > TAIL_BYTES and len(self._pieces) > 1:
            self._size -= len(self._pieces.popleft())

    def text(self) -> str:
        """Return the last lines, without the line that every server prints at its start."""
        lines = b"".join(self._pieces)[-TAIL_BYTES:].decode(errors="replace").strip().split("\n")
        return "\n".join(line for line in lines if line != STARTED.decode())
