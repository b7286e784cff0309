"""Executions as they were, from position to position: the fold that rebuilds them, with every step of it kept."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from annals.domain.execution import Execution
from annals.domain.retention import Retention
from annals.projections.executions import Columns, sweep_range
from annals.projections.replay.executions_fold import fold
from annals.store.log.reader import RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "execution_versions.sql")
OPEN = 2**63 - 1
"""Where the versions of rows that are end."""

_encode = msgspec.json.Encoder().encode


async def apply(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
    """Keep what events of executions make of their rows."""
    if not recorded_events:
        return
    rows = await _known(conn, recorded_events)
    begun = {stream: (row.pop("from_position"), row.pop("to_position")) for stream, row in rows.items()}
    former: list[tuple[str, int, int]] = []
    made: dict[str, Columns] = {}
    kept: list[Columns] = []
    counted: defaultdict[tuple[str, int], int] = defaultdict(int)
    for recorded_event in recorded_events:
        stream: str = recorded_event.event.originator_id
        fold(rows, counted, recorded_event)
        if (version := made.pop(stream, None)) is not None:
            kept.append({**version, "to_position": recorded_event.position})
        elif stream in begun:
            former.append((stream, begun.pop(stream)[0], recorded_event.position))
        if stream in rows:
            made[stream] = {**rows[stream], "from_position": recorded_event.position, "to_position": OPEN}
    if former:
        streams, starts, ends = (list(column) for column in zip(*former, strict=True))
        await conn.execute(QUERIES["end"], {"streams": streams, "begun": starts, "ended": ends})
    if kept or made:
        await conn.execute(QUERIES["keep"], {"rows": _encode([*kept, *made.values()]).decode()})


async def sweep(conn: Connection, recorded_event: RecordedEvent) -> None:
    """Retention's events end the versions of the rows that they removed."""
    if isinstance(recorded_event.event, Retention.ExecutionsSwept):
        await conn.execute(QUERIES["sweep"], {**sweep_range(recorded_event.event), "position": recorded_event.position})


async def _known(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> dict[str, Columns]:
    streams = {f.event.originator_id for f in recorded_events if not isinstance(f.event, Execution.Requested)}
    if not streams:
        return {}
    cursor = await conn.execute(QUERIES["rows"], {"streams": list(streams)}, binary=True)
    return {row["stream_id"]: row for row in await cursor.fetchall()}
