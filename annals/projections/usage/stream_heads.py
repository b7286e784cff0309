"""How the streams of outcomes began, where that lies before the facts at hand: in the log's table, or archived."""

from collections.abc import Container, Sequence

import msgspec

from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.projections.usage.deltas import Beginning
from annals.store.log.compact_states import plain
from annals.store.log.reader import Fact, Facts
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "follower.sql")
BEGIN = (Execution.Requested, Function.Created)
END = (Execution.Completed, Execution.Failed, Execution.Canceled, Function.Deleted)
_TOPICS = [Execution.Requested.TOPIC, Function.Created.TOPIC]
_FOLLOW_UPS = (*END, Execution.RetryScheduled)
_decode = msgspec.json.Decoder(Beginning).decode


async def beginnings(conn: Connection, facts: Sequence[Fact], known: Container[str] = ()) -> dict[str, Beginning]:
    """Those in the log's table, by stream; none of streams that are known."""
    wanted = {stream: fact for stream, fact in _follow_ups(facts).items() if stream not in known}
    if not wanted:
        return {}
    streams = list(wanted)
    versions = [fact.event.originator_version for fact in wanted.values()]
    params = {"streams": streams, "versions": versions, "topics": _TOPICS}
    found: dict[str, Beginning] = {}
    for row in await (await conn.execute(QUERIES["origins"], params, binary=True)).fetchall():
        began = _decode(plain(row["state"]))
        if not began.trigger:
            began.function_incarnation = row["notification_id"]
        found[streams[row["ord"] - 1]] = began
    return found


async def all_beginnings(
    conn: Connection, log: Facts, facts: Sequence[Fact], known: Container[str] = ()
) -> dict[str, Beginning]:
    """Those in the archives as well. Raises ArchiveDamaged, BlobError, and ValueError where no log has one."""
    found = await beginnings(conn, facts, known)
    missing = {s: fact for s, fact in _follow_ups(facts).items() if s not in known and s not in found}
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


def _follow_ups(facts: Sequence[Fact]) -> dict[str, Fact]:
    """The first fact of each stream that began before these."""
    begun: set[str] = set()
    found: dict[str, Fact] = {}
    for fact in facts:
        stream = fact.event.originator_id
        if isinstance(fact.event, BEGIN):
            begun.add(stream)
        elif isinstance(fact.event, _FOLLOW_UPS) and stream not in begun:
            found.setdefault(stream, fact)
    return found
