"""The read models that follow the log. The keeper runs a follower for each, and `replay` rebuilds them.

The smallest one is here: the index of events by actor, request, cause and resource, for the audit.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from annals.projections import row_versions, schedules
from annals.projections.usage import follower
from annals.store.log.follower import Handle
from annals.store.log.reader import RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "following.sql")
_encode = msgspec.json.Encoder().encode


class Following(NamedTuple):
    """A follower's handler `handle`, the events it `wants` (None: all), and the `tables` that it writes.

    It may lag by `gather_seconds`, so that batches are larger and cheaper. `refilling` returns a rebuild's handler.
    """

    handle: Handle
    tables: tuple[str, ...]
    wants: Callable[[Any], bool] | None = None
    gather_seconds: float = 0.1
    refilling: Callable[[], Handle] | None = None


async def _index(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
    """Index a batch of events, which stay in the log (a follower's handler)."""
    found = [_indexed(recorded_event) for recorded_event in recorded_events]
    await conn.execute(QUERIES["index"], {"rows": _encode(found).decode()})


def _indexed(recorded_event: RecordedEvent) -> dict[str, object]:
    metadata = recorded_event.event.metadata
    kind, _, rest = recorded_event.event.originator_id.partition(":")
    return {
        "position": recorded_event.position,
        "project_id": recorded_event.project,
        "topic": type(recorded_event.event).TOPIC,
        "actor": metadata.get("actor", ""),
        "request": metadata.get("request", ""),
        "correlation": metadata.get("correlation", ""),
        "causation": int(metadata.get("causation") or 0),
        "resource_type": kind,
        "resource_id": rest.rpartition(":")[2],
        "recorded_at": recorded_event.recorded_at,
    }


FOLLOWING: Mapping[str, Following] = {
    "usage": Following(  # readers add the events after its checkpoint
        follower.follow, follower.TABLES, gather_seconds=0.3, refilling=follower.refilling
    ),
    "schedules": Following(schedules.follow, schedules.TABLES, schedules.wants),
    "audit": Following(_index, ("audit",)),
    row_versions.FOLLOWER: Following(row_versions.follow, row_versions.TABLES),
}
"""By the follower's name, which is also the name of its checkpoint."""
