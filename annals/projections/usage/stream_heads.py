"""How the streams of outcomes began, where that lies before the facts at hand: in the log's table, or archived."""

from collections.abc import Container, Sequence

import msgspec

from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.projections.usage.deltas import Beginning
from annals.store.log.compact_states import plain
from annals.store.log.reader import EventReader, RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "follower.sql")
BEGIN = (Execution.Requested, Function.Created)
END = (Execution.Completed, Execution.Failed, Execution.Canceled, Function.Deleted)
_TOPICS = [Execution.Requested.TOPIC, Function.Created.TOPIC]
_FOLLOW_UPS = (*END, Execution.RetryScheduled)
_decode = msgspec.json.Decoder(Beginning).decode


async def beginnings(
    conn: Connection, recorded_events: Sequence[RecordedEvent], known: Container[str] = ()
) -> dict[str, Beginning]:
    """Those in the log's table, by stream; none of streams that are known."""
    wanted = {
        stream: recorded_event for stream, recorded_event in _follow_ups(recorded_events).items() if stream not in known
    }
    if not wanted:
        return {}
    streams = list(wanted)
    versions = [recorded_event.event.originator_version for recorded_event in wanted.values()]
    params = {"streams": streams, "versions": versions, "topics": _TOPICS}
    found: dict[str, Beginning] = {}
    for row in await (await conn.execute(QUERIES["origins"], params, binary=True)).fetchall():
        began = _decode(plain(row["state"]))
        if not began.trigger:
            began.function_incarnation = row["notification_id"]
        found[streams[row["ord"] - 1]] = began
    return found


async def all_beginnings(
    conn: Connection, log: EventReader, recorded_events: Sequence[RecordedEvent], known: Container[str] = ()
) -> dict[str, Beginning]:
    """Those in the archives as well. Raises ArchiveDamaged, BlobError, and ValueError where no log has one."""
    found = await beginnings(conn, recorded_events, known)
    missing = {
        s: recorded_event
        for s, recorded_event in _follow_ups(recorded_events).items()
        if s not in known and s not in found
    }
    if not missing:
        return found
    for former in await log.archived(missing):
        event = former.event
        if isinstance(event, Execution.Requested) and former.position < missing[event.originator_id].position:
            found[event.originator_id] = beginning(event)
    if orphans := sorted(missing.keys() - found.keys()):
        raise ValueError(f"{orphans[0]} went on at position {missing[orphans[0]].position} and never began")
    return found


def beginning(event: Execution.Requested) -> Beginning:
    return Beginning(event.function_id, event.function_incarnation, event.trigger)


def _follow_ups(recorded_events: Sequence[RecordedEvent]) -> dict[str, RecordedEvent]:
    """The first fact of each stream that began before these."""
    begun: set[str] = set()
    found: dict[str, RecordedEvent] = {}
    for recorded_event in recorded_events:
        stream = recorded_event.event.originator_id
        if isinstance(recorded_event.event, BEGIN):
            begun.add(stream)
        elif isinstance(recorded_event.event, _FOLLOW_UPS) and stream not in begun:
            found.setdefault(stream, recorded_event)
    return found
