"""An index of events by actor, request, cause and resource. The events themselves are in the log."""

from collections.abc import Sequence

import msgspec

from annals.store.log.reader import RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "audit.sql")
TABLES = ("audit",)
_encode = msgspec.json.Encoder().encode


async def follow(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
    """Index a batch (the follower's handler)."""
    found = [_row(recorded_event) for recorded_event in recorded_events]
    await conn.execute(QUERIES["keep"], {"rows": _encode(found).decode()})


def _row(recorded_event: RecordedEvent) -> dict[str, object]:
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
