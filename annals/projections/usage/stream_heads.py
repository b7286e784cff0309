"""The heads of streams: their first events, looked up for outcomes whose request lies in an earlier batch."""

from collections.abc import Container, Sequence

import msgspec

from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.projections.usage.changes import StreamHead
from annals.store.log.compact_states import plain
from annals.store.log.reader import EventReader, RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "stream_heads.sql")
FIRST_EVENTS = (Execution.Requested, Function.Created)
LAST_EVENTS = (Execution.Completed, Execution.Failed, Execution.Canceled, Function.Deleted)
_TOPICS = [Execution.Requested.TOPIC, Function.Created.TOPIC]
_FOLLOW_UPS = (*LAST_EVENTS, Execution.RetryScheduled)
_decode = msgspec.json.Decoder(StreamHead).decode


async def stream_heads(
    conn: Connection, recorded_events: Sequence[RecordedEvent], known: Container[str] = ()
) -> dict[str, StreamHead]:
    """Return heads in the log's table by stream, except of known streams."""
    wanted = {stream: first for stream, first in _follow_ups(recorded_events).items() if stream not in known}
    if not wanted:
        return {}
    streams = list(wanted)
    versions = [first.event.originator_version for first in wanted.values()]
    params = {"streams": streams, "versions": versions, "topics": _TOPICS}
    found: dict[str, StreamHead] = {}
    for row in await (await conn.execute(QUERIES["heads"], params, binary=True)).fetchall():
        head = _decode(plain(row["state"]))
        if not head.trigger:
            head.function_incarnation = row["notification_id"]
        found[streams[row["ord"] - 1]] = head
    return found


async def all_stream_heads(
    conn: Connection, reader: EventReader, recorded_events: Sequence[RecordedEvent], known: Container[str] = ()
) -> dict[str, StreamHead]:
    """Return heads in the log's table and in archives. Raises ArchiveDamaged, BlobError, ValueError for none."""
    found = await stream_heads(conn, recorded_events, known)
    missing = {
        stream: first
        for stream, first in _follow_ups(recorded_events).items()
        if stream not in known and stream not in found
    }
    if not missing:
        return found
    for former in await reader.archived(missing):
        event = former.event
        if isinstance(event, Execution.Requested) and former.position < missing[event.originator_id].position:
            found[event.originator_id] = head_of(event)
    if orphans := sorted(missing.keys() - found.keys()):
        raise ValueError(
            f"The log has no first event of {orphans[0]}, which continues at position {missing[orphans[0]].position}."
        )
    return found


def head_of(event: Execution.Requested) -> StreamHead:
    """Return the head of an execution's stream."""
    return StreamHead(event.function_id, event.function_incarnation, event.trigger)


def _follow_ups(recorded_events: Sequence[RecordedEvent]) -> dict[str, RecordedEvent]:
    """Return, of each stream that began before these events, the first event among them."""
    begun: set[str] = set()
    found: dict[str, RecordedEvent] = {}
    for recorded_event in recorded_events:
        stream = recorded_event.event.originator_id
        if isinstance(recorded_event.event, FIRST_EVENTS):
            begun.add(stream)
        elif isinstance(recorded_event.event, _FOLLOW_UPS) and stream not in begun:
            found.setdefault(stream, recorded_event)
    return found
