"""The follower of usage: it books batches of events into the cube's tables, and into sums over all time.

An outcome or a build does not name its function. The head of its stream does.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec
from psycopg.sql import SQL, Composed, Identifier, Literal

from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.domain.retention import Retention
from annals.projections.usage.changes import (
    CALLS,
    TOTALS,
    Cell,
    Counted,
    KnownDeployment,
    StreamHead,
    UsageChanges,
    own_id,
    rows,
)
from annals.projections.usage.stream_heads import FIRST_EVENTS, LAST_EVENTS, stream_heads
from annals.store.log.follower import Handle
from annals.store.log.reader import RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "follower.sql")
GRAINS = {"usage_cells": (1, 15), "usage_hours": (60,), "usage_days": (1440,), "usage_calls": (15, 60, 1440)}
"""The cubes' tables and the lengths of their cells, in minutes. Long cells have own tables: months are few pages."""

_CALLS_TABLE = "usage_calls"

TABLES = ("usage_totals", "usage_deployments", *GRAINS)
_TOTALS = frozenset(TOTALS)
_encode = msgspec.json.Encoder().encode


async def fold(
    conn: Connection, recorded_events: Sequence[RecordedEvent], heads: dict[str, StreamHead]
) -> UsageChanges:
    """Return the changes by events that follow the booked ones; write nothing.

    `heads` are known stream heads. Afterwards they hold those of the streams that have not ended.
    """
    heads |= await stream_heads(conn, recorded_events, heads)
    changes = UsageChanges(await _known_deployments(conn, recorded_events), heads)
    ended: set[str] = set()
    for recorded_event in recorded_events:
        changes.apply(recorded_event)
        if isinstance(recorded_event.event, LAST_EVENTS):
            ended.add(recorded_event.event.originator_id)
        elif isinstance(recorded_event.event, FIRST_EVENTS):
            ended.discard(recorded_event.event.originator_id)
    for stream in ended:
        del heads[stream]
    return changes


async def follow(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
    """Book a batch (the follower's handler)."""
    await _follow(conn, recorded_events, {})


def refilling() -> Handle:
    """Return the handler of a rebuild. It sees every stream head and keeps it, since archived ones are in no table."""
    heads: dict[str, StreamHead] = {}

    async def handle(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
        await _follow(conn, recorded_events, heads)

    return handle


async def _follow(conn: Connection, recorded_events: Sequence[RecordedEvent], heads: dict[str, StreamHead]) -> None:
    """Write everything before each sweep of retention, so that the batch size makes no difference."""
    start = 0
    for index, recorded_event in enumerate(recorded_events):
        if isinstance(recorded_event.event, Retention.ExecutionsSwept):
            await _book(conn, recorded_events[start:index], heads)
            await conn.execute(QUERIES["sweep"], _swept(recorded_event.project, recorded_event.event))
            start = index + 1
    await _book(conn, recorded_events[start:], heads)


async def _book(conn: Connection, recorded_events: Sequence[RecordedEvent], heads: dict[str, StreamHead]) -> None:
    if not recorded_events:
        return
    changes = await fold(conn, recorded_events, heads)
    if changes.projects:
        params = {"projects": list(changes.projects)}
        await conn.execute(QUERIES["forget_projects"], params)
        for table in GRAINS:
            await conn.execute(SQL(QUERIES["forget_cells"]).format(table=Identifier(table)), params)
    await _write_deployments(conn, changes)
    if changes.cells:
        await conn.execute(QUERIES["add_totals"], _totals(changes.cells))
        await conn.execute(_ADD_CELLS, {"cells": _encode(rows(changes.cells)).decode()})


def table_of(grain: int, cube: str = "") -> str:
    """Return the table of cells of a length in minutes; the cube of calls has its own table."""
    return _CALLS_TABLE if cube == CALLS else next(table for table, grains in GRAINS.items() if grain in grains)


def _swept(project_id: str, event: Retention.ExecutionsSwept) -> dict[str, object]:
    return {
        "project_id": project_id,
        "function_id": event.function_id,
        "function_sequence": event.function_incarnation,
        "up_to": event.up_to,
    }


async def _known_deployments(
    conn: Connection, recorded_events: Sequence[RecordedEvent]
) -> dict[tuple[str, str], KnownDeployment]:
    deployments = {(f.project, own_id(f.event)) for f in recorded_events if isinstance(f.event, Deployment.Event)}
    functions = {(f.project, own_id(f.event)) for f in recorded_events if isinstance(f.event, Function.Deleted)}
    if not deployments and not functions:
        return {}
    params = {
        "projects": [project for project, _ in deployments],
        "deployments": [deployment for _, deployment in deployments],
        "owners": [project for project, _ in functions],
        "functions": [function for _, function in functions],
    }
    rows = await (await conn.execute(QUERIES["deployments"], params)).fetchall()
    return {(row["project_id"], row["deployment_id"]): KnownDeployment.of(row) for row in rows}


async def _write_deployments(conn: Connection, changes: UsageChanges) -> None:
    gone = [key for key in changes.touched if key not in changes.deployments]
    if gone:
        params: dict[str, object] = {"projects": [p for p, _ in gone], "deployments": [d for _, d in gone]}
        await conn.execute(QUERIES["forget_deployments"], params)
    kept = [(key, changes.deployments[key]) for key in changes.touched if key in changes.deployments]
    if kept:
        params = {
            "projects": [project for (project, _), _ in kept],
            "deployments": [deployment for (_, deployment), _ in kept],
            "functions": [known.owner.function_id for _, known in kept],
            "sequences": [known.owner.function_sequence for _, known in kept],
            "bytes": [known.source_bytes for _, known in kept],
        }
        await conn.execute(QUERIES["remember_deployments"], params)


def _totals(cells: Mapping[Cell, Counted]) -> dict[str, object]:
    sums: defaultdict[tuple[str, str, int, str], float] = defaultdict(float)
    for cell, counted in cells.items():
        for metric, value in counted.sums.items():
            if metric in _TOTALS:
                sums[cell.project_id, cell.function_id, cell.function_sequence, metric] += value
    columns = [list(column) for column in zip(*sums, strict=True)] or [[], [], [], []]
    names = ("projects", "functions", "sequences", "metrics")
    return {**dict(zip(names, columns, strict=True)), "values": list(sums.values())}


def _add_cells() -> Composed:
    """Return one statement that writes cells to all tables. They are sent once; JSON is much cheaper than arrays."""
    inserts = [
        SQL(QUERIES["add_cells"]).format(
            table=Identifier(table), grains=Literal(list(grains)), calls=Literal(table == _CALLS_TABLE)
        )
        for table, grains in GRAINS.items()
    ]
    named = [SQL("{} AS ({})").format(Identifier(f"into_{n}"), insert) for n, insert in enumerate(inserts[:-1])]
    return SQL(", ").join([SQL(QUERIES["cells"]), *named]) + SQL(" ") + inserts[-1]


_ADD_CELLS = _add_cells()
