"""A row of the log in its two other forms: as the leaf that is sealed, and as a line of JSON.

A leaf has every column of the row, its position and its time included. docs/proof.md documents its form, which never
changes: a change would invalidate all earlier checkpoints. Lines restore the stored bytes exactly, for exports, backups
and archives.
"""

import base64
import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from annals.domain.decoding import UNREADABLE
from annals.store.log.compact_states import plain, plain_or_altered

FORM = 1
"""The first byte of every leaf."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEAD = struct.Struct(">BQQQHHI")
_pack = _HEAD.pack


class StoredRow(NamedTuple):
    """A row of the log: `recorded_ms` is its time in milliseconds since 1970, `state` its plain state."""

    position: int
    recorded_ms: int
    stream: str
    version: int
    topic: str
    state: bytes


def as_leaf(row: StoredRow) -> bytes:
    """Return the leaf: form, position, time, version, the lengths of stream, topic and state, then these three."""
    position, recorded_ms, stream, version, topic, state = row
    stream_bytes, topic_bytes = stream.encode(), topic.encode()
    head = _pack(FORM, position, recorded_ms, version, len(stream_bytes), len(topic_bytes), len(state))
    return head + stream_bytes + topic_bytes + state


def from_leaf(leaf: bytes) -> StoredRow:
    """Return the row of a leaf. Raises ValueError for bytes that are no leaf."""
    try:
        form, position, recorded_ms, version, streams, topics, states = _HEAD.unpack_from(leaf)
    except struct.error as error:
        raise ValueError(f"These bytes are no leaf: {error}") from error
    if form != FORM or len(leaf) != _HEAD.size + streams + topics + states:
        raise ValueError("These bytes are no leaf of a form that is known")
    rest = leaf[_HEAD.size :]
    stream, topic = rest[:streams].decode(), rest[streams : streams + topics].decode()
    return StoredRow(position, recorded_ms, stream, version, topic, rest[streams + topics :])


def stored_row(row: dict[str, Any]) -> StoredRow:
    """Return a row of the log's queries. Raises UnreadableEvent: an unreadable state is never sealed."""
    return StoredRow(
        row["notification_id"],
        milliseconds(row["recorded_at"]),
        row["originator_id"],
        row["originator_version"],
        row["topic"],
        plain(row["state"]),
    )


def row_to_compare(row: Mapping[str, Any]) -> StoredRow:
    """Return a row of the seal's queries for a comparison with its leaf; an unreadable state stays unchanged."""
    stored = StoredRow(*row.values())
    return stored._replace(state=plain_or_altered(stored.state))


def milliseconds(moment: datetime) -> int:
    """Return a time of the log as milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def moment(recorded_ms: int) -> datetime:
    """Return the time of milliseconds since 1970."""
    return _EPOCH + timedelta(milliseconds=recorded_ms)


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
