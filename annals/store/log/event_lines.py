"""Events as lines of JSON that restore the stored bytes exactly, for exports, backups and archives."""

import base64

import msgspec

from annals.domain.decoding import UNREADABLE
from annals.store.proof.leaf import StoredRow


class LineInvalid(Exception):
    """A line is not of an export or archive."""


class EventLine(msgspec.Struct, omit_defaults=True):
    """One event; `recorded` is in milliseconds since 1970. `state` has the stored bytes unchanged.

    A state that is no JSON object on one line is in `state64`, as base64.
    """

    position: int
    recorded: int
    stream: str
    version: int
    topic: str
    state: msgspec.Raw = msgspec.Raw()
    state64: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(EventLine).decode
_check = msgspec.json.Decoder(msgspec.Raw).decode


def to_line(row: StoredRow) -> bytes:
    """Return an event's line without its newline."""
    position, recorded, stream, version, topic, state = row
    if _fits_line(state):
        return _encode(EventLine(position, recorded, stream, version, topic, msgspec.Raw(state)))
    text = base64.b64encode(state).decode()
    return _encode(EventLine(position, recorded, stream, version, topic, state64=text))


def from_line(line: bytes) -> StoredRow:
    """Return the event of a line. Raises LineInvalid."""
    try:
        read = _decode(line)
        state = base64.b64decode(read.state64, validate=True) if read.state64 else bytes(read.state)
    except UNREADABLE as error:
        raise LineInvalid(str(error)) from error
    return StoredRow(read.position, read.recorded, read.stream, read.version, read.topic, state)


def _fits_line(state: bytes) -> bool:
    if state[:1] != b"{" or state[-1:] != b"}" or b"\n" in state:
        return False
    try:
        _check(state)
    except UNREADABLE:
        return False
    return True
