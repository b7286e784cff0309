"""Leaves: the sealed bytes of a stored event, which include every column of its row, its position and its time.

docs/proof.md documents the form. It never changes: a change would invalidate all earlier checkpoints.
"""

import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

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
