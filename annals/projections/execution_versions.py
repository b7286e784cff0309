"""Executions as they were, from position to position: the fold that rebuilds them, with every step of it kept."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from annals.domain.execution import Execution
from annals.domain.retention import Retention
from annals.projections.executions import Columns, sweep_range
from annals.projections.replay.executions_fold import fold
from annals.store.log.reader import Fact
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "execution_versions.sql")
OPEN = 2**63 - 1
"""Where the versions of rows that are end."""

_encode = msgspec.json.Encoder().encode


async def apply(conn: Connection, facts: Sequence[Fact]) -> None:
    """Keep what events of executions make of their rows."""
    if not facts:
        return
    rows = await _known(conn, facts)
    begun = {stream: (row.pop("from_position"), row.pop("to_position")) for stream, row in rows.items()}
    former: list[tuple[str, int, int]] = []
    made: dict[str, Columns] = {}
    kept: list[Columns] = []
    counted: defaultdict[tuple[str, int], int] = defaultdict(int)
    for fact in facts:
        stream: str = fact.event.originator_id
        fold(rows, counted, fact)
        if (version := made.pop(stream, None)) is not None:
            kept.append({**version, "to_position": fact.position})
        elif stream in begun:
            former.append((stream, begun.pop(stream)[0], fact.position))
        if stream in rows:
            made[stream] = {**rows[stream], "from_position": fact.position, "to_position": OPEN}
    if former:
        streams, starts, ends = (list(column) for column in zip(*former, strict=True))
        await conn.execute(QUERIES["end"], {"streams": streams, "begun": starts, "ended": ends})
    if kept or made:
        await conn.execute(QUERIES["keep"], {"rows": _encode([*kept, *made.values()]).decode()})


async def sweep(conn: Connection, fact: Fact) -> None:
    """Retention's events end the versions of the rows that they removed."""
    if isinstance(fact.event, Retention.ExecutionsSwept):
        await conn.execute(QUERIES["sweep"], {**sweep_range(fact.event), "position": fact.position})


async def _known(conn: Connection, facts: Sequence[Fact]) -> dict[str, Columns]:
    streams = {f.event.originator_id for f in facts if not isinstance(f.event, Execution.Requested)}
    if not streams:
        return {}
    cursor = await conn.execute(QUERIES["rows"], {"streams": list(streams)}, binary=True)
    return {row["stream_id"]: row for row in await cursor.fetchall()}
