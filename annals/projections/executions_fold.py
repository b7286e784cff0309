"""The executions' read model for whole batches: rows are folded here and written at once, several times faster.

For rebuilding. The inline statements do the same one by one; `tests/replay` holds both to the same rows.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec

from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.projections.executions import REVIVED, Columns, claimed, ended, output_kept, requested, retry_scheduled
from annals.store import sql
from annals.store.database import Connection
from annals.store.facts import Fact

QUERIES = sql.load(__package__, "executions_fold.sql")
_STEP = timedelta(milliseconds=1)
_DEFAULTS: Columns = {
    "reason": "",
    "message": "",
    "response_status_code": 0,
    "response_headers": "[]",
    "duration_ms": 0,
    "queue_ms": 0,
    "start_ms": 0,
    "cold": False,
    "environment_digest": "",
    "specification": "",
    "logs_version": 0,
    "logs_size": 0,
    "errors_size": 0,
    "started_at": None,
    "retry_at": None,
    "dead_reason": "",
}
_encode = msgspec.json.Encoder().encode


async def apply(conn: Connection, facts: Sequence[Fact]) -> None:
    """Bring the table forward by events of executions, between which no function appears or goes."""
    if not facts:
        return
    rows = await _known(conn, facts)
    before = list(rows)
    counted: defaultdict[tuple[str, int], int] = defaultdict(int)
    for fact in facts:
        fold(rows, counted, fact)
    if before:
        await conn.execute(QUERIES["drop"], {"streams": before})
    if rows:
        await conn.execute(QUERIES["keep"], {"rows": _encode(list(rows.values())).decode()})
    deltas = [{"function": f, "sequence": sequence, "value": value} for (f, sequence), value in counted.items()]
    if deltas:
        await conn.execute(QUERIES["count"], {"deltas": _encode(deltas).decode()})


async def _known(conn: Connection, facts: Sequence[Fact]) -> dict[str, Columns]:
    """The rows of executions that began before these facts."""
    begun: set[str] = set()
    wanted: set[str] = set()
    for event in (fact.event for fact in facts):
        if isinstance(event, Execution.Requested):
            begun.add(event.originator_id)
        elif event.originator_id not in begun:
            wanted.add(event.originator_id)
    if not wanted:
        return {}
    cursor = await conn.execute(QUERIES["rows"], {"streams": list(wanted)}, binary=True)
    return {row["stream_id"]: row for row in await cursor.fetchall()}


def fold(rows: dict[str, Columns], counted: defaultdict[tuple[str, int], int], fact: Fact) -> None:
    """Bring the row of one event's execution forward, and count what comes and goes by function."""
    event: Any = fact.event
    stream: str = event.originator_id
    if isinstance(event, Execution.Requested):
        rows[stream] = _new(fact, event)
        counted[_function(rows[stream])] += 1
    elif (row := rows.get(stream)) is None:
        return  # swept already
    elif isinstance(event, Execution.Deleted):
        counted[_function(row)] -= 1
        del rows[stream]
    else:
        if isinstance(event, Execution.Claimed):
            row.update(claimed(event), started_at=fact.recorded_at)
        elif isinstance(event, Execution.RetryScheduled):
            row.update(retry_scheduled(event))
        elif isinstance(event, Execution.Redriven | Execution.Discarded):
            row.update(REVIVED)
        elif isinstance(event, Execution.OutputKept):
            row.update(output_kept(event))
        else:
            row.update(ended(event))
        row.update(version=event.originator_version, updated_at=max(fact.recorded_at, row["updated_at"] + _STEP))


def _new(fact: Fact, event: Execution.Requested) -> Columns:
    row = {
        **_DEFAULTS,
        **requested(event),
        "stream_id": event.originator_id,
        "version": event.originator_version,
        "sequence": fact.position,
        "created_at": fact.recorded_at,
        "updated_at": fact.recorded_at,
    }
    if row["status"] == "processing":
        row["started_at"] = fact.recorded_at
    return row


def _function(row: Columns) -> tuple[str, int]:
    return Function.stream(row["project_id"], row["function_id"]), row["function_sequence"]
