"""Byte ranges of uploaded chunks and of downloads."""

import re
from typing import NamedTuple

from annals.app.errors import ContentRangeInvalid, RangeInvalid

CHUNK = 5 * 1024 * 1024
"""The size of every chunk except the last."""

OPEN_END = 10 * 1024 * 1024
"""Most bytes that answer an open-ended range."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})", re.ASCII)
_TOTAL = re.compile(r"bytes [0-9]{1,30}-[0-9]{1,30}/([0-9]{1,30})", re.ASCII)
_ANY_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})", re.ASCII)
_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})", re.ASCII)


class UploadChunk(NamedTuple):
    """One chunk of an upload of `size` bytes: its number, counted from 0, and the number of all chunks."""

    number: int
    parts: int
    length: int
    size: int


def total_of(header: str) -> int:
    """Return the total that a Content-Range declares with any range, or 0 for an invalid header."""
    match = _TOTAL.fullmatch(header.strip())
    return int(match[1]) if match else 0


def parse_chunk(header: str) -> UploadChunk | None:
    """Return the chunk that a Content-Range names, or None if it covers the whole file: that is a plain upload.

    Raises ContentRangeInvalid.
    """
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None:
        raise ContentRangeInvalid
    start, end, size = (int(number) for number in match.groups())
    if start > end or end > size or start >= size:
        raise ContentRangeInvalid
    after = min(end + 1, size)
    if start == 0 and after == size:
        return None
    if start % CHUNK or (after - start != CHUNK and after != size) or after - start > CHUNK:
        raise ContentRangeInvalid(f"Chunks are {CHUNK} bytes each, but for the last one.")
    return UploadChunk(start // CHUNK, -(-size // CHUNK), after - start, size)


def requested_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the byte after the last of a single range (RFC 9110), or None for any other header.

    Raises RangeInvalid for a range that lies after the end.
    """
    match = _ANY_RANGE.fullmatch(header.strip())
    if match is None or not (match[1] or match[2]) or (match[1] and match[2] and int(match[1]) > int(match[2])):
        return None
    start = int(match[1]) if match[1] else max(0, size - int(match[2]))
    end = min(int(match[2]) + 1, size) if match[1] and match[2] else size
    if start >= end:
        raise RangeInvalid
    return start, end


def parse_range(header: str, size: int) -> tuple[int, int]:
    """Return the first and the last byte of a download's range.

    Raises RangeInvalid, also for a range of one byte: the contract requires that.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None:
        raise RangeInvalid
    start = int(match[1])
    end = int(match[2]) if match[2] else min(start + OPEN_END, size) - 1
    if start >= end or end >= size:
        raise RangeInvalid
    return start, end
