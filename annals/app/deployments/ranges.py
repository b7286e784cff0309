"""Byte ranges: of a chunk that is uploaded, and of a file that is downloaded."""

import re
from typing import NamedTuple

from annals.app.edge.errors import ContentRangeInvalid, RangeInvalid

CHUNK = 5 * 1024 * 1024
"""The size of every chunk but the last."""

OPEN_END = 10 * 1024 * 1024
"""How much an open-ended range is answered with at most."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})", re.ASCII)
_TOTAL = re.compile(r"bytes [0-9]{1,30}-[0-9]{1,30}/([0-9]{1,30})", re.ASCII)
_ANY_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})", re.ASCII)
_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})", re.ASCII)


class UploadChunk(NamedTuple):
    """One chunk of an upload of `size` bytes: its number from 0, and how many there are in all."""

    number: int
    parts: int
    length: int
    size: int


def total_of(header: str) -> int:
    """The total that a Content-Range declares, whatever range it names; 0 for a header that is none."""
    match = _TOTAL.fullmatch(header.strip())
    return int(match[1]) if match else 0


def parse_chunk(header: str) -> UploadChunk | None:
    """What a Content-Range says; None for one that covers everything, which is a normal upload.

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


def asked_range(header: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last of what RFC 9110 calls one range; None for all that is none.

    Raises RangeInvalid for one that lies behind the end.
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
    """First and last byte of a download's range. Raises RangeInvalid; a range of one byte is refused by contract."""
    match = _RANGE.fullmatch(header.strip())
    if match is None:
        raise RangeInvalid
    start = int(match[1])
    end = int(match[2]) if match[2] else min(start + OPEN_END, size) - 1
    if start >= end or end >= size:
        raise RangeInvalid
    return start, end
