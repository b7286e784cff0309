"""A stored event as the bytes that are sealed: every column of its row, its position and its time included.

The form is documented in docs/proof.md and kept for good: a change of it would make all earlier checkpoints void.
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
    """A row of the log: `recorded_ms` is its time in milliseconds since 1970, `state` the plain one."""

    position: int
    recorded_ms: int
    stream: str
    version: int
    topic: str
    state: bytes


def as_leaf(row: StoredRow) -> bytes:
    """Form, position, time, version, the lengths of stream, topic and state, then these three."""
    position, recorded_ms, stream, version, topic, state = row
    stream_bytes, topic_bytes = stream.encode(), topic.encode()
    head = _pack(FORM, position, recorded_ms, version, len(stream_bytes), len(topic_bytes), len(state))
    return head + stream_bytes + topic_bytes + state


def from_leaf(leaf: bytes) -> StoredRow:
    """The row again. Raises ValueError for bytes that are no leaf."""
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
    """From a row as the log's queries give it. Raises UnreadableEvent: what cannot be read is not sealed."""
    return StoredRow(
        row["notification_id"],
        milliseconds(row["recorded_at"]),
        row["originator_id"],
        row["originator_version"],
        row["topic"],
        plain(row["state"]),
    )


def row_to_compare(row: Mapping[str, Any]) -> StoredRow:
    """From a row of the seal's queries, to be held against its leaf: a state that cannot be read comes as it is."""
    stored = StoredRow(*row.values())
    return stored._replace(state=plain_or_altered(stored.state))


def milliseconds(moment: datetime) -> int:
    """A time of the log, which has whole milliseconds, as their number since 1970."""
    return round(moment.timestamp() * 1000)


def moment(recorded_ms: int) -> datetime:
    """And back."""
    return _EPOCH + timedelta(milliseconds=recorded_ms)
