"""Who did what and why, so that events are found by it; what happened to a resource is found in the log itself."""

from collections.abc import Sequence

import msgspec

from annals.store.log.reader import Fact
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "audit.sql")
TABLES = ("audit",)
_encode = msgspec.json.Encoder().encode


async def follow(conn: Connection, facts: Sequence[Fact]) -> None:
    """The follower's handler."""
    found = [_row(fact) for fact in facts]
    await conn.execute(QUERIES["keep"], {"rows": _encode(found).decode()})


def _row(fact: Fact) -> dict[str, object]:
    metadata = fact.event.metadata
    kind, _, rest = fact.event.originator_id.partition(":")
    return {
        "position": fact.position,
        "project_id": fact.project,
        "topic": type(fact.event).TOPIC,
        "actor": metadata.get("actor", ""),
        "request": metadata.get("request", ""),
        "correlation": metadata.get("correlation", ""),
        "causation": int(metadata.get("causation") or 0),
        "resource_type": kind,
        "resource_id": rest.rpartition(":")[2],
        "recorded_at": fact.recorded_at,
    }
