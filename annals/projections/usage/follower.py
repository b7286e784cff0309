"""What was used: a cube of sums by time and keys, and sums over all time, by a follower, whole batches at once.

An event that does not say whose it is (an outcome, a build) is told by how its stream began.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec
from psycopg.sql import SQL, Composed, Identifier, Literal

from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.domain.retention import Retention
from annals.projections.usage.cells import CALLS, TOTALS, Cell, Counted, CubeChanges, rows
from annals.projections.usage.deltas import Beginning, Changes, Owner, Remembered, own_id
from annals.projections.usage.stream_heads import BEGIN, END, beginnings
from annals.store.log.follower import Handle
from annals.store.log.reader import RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "follower.sql")
CELLS = sql.load(__package__, "cells.sql")
GRAINS = {"usage_cells": (1, 15), "usage_hours": (60,), "usage_days": (1440,), "usage_calls": (15, 60, 1440)}
"""The cubes' tables and the minutes that their rows span: apart, so that months are read from few pages."""

_OF_CALLS = "usage_calls"

TABLES = ("usage_totals", "usage_deployments", *GRAINS)
T = TypeVar("T", bound=Changes)
_TOTALS = frozenset(TOTALS)
_encode = msgspec.json.Encoder().encode


async def fold(
    conn: Connection, recorded_events: Sequence[RecordedEvent], kind: type[T], begun: dict[str, Beginning]
) -> T:
    """What facts do to the sums over all time (`Changes`) or the cube, given what is remembered; writes nothing.

    `begun` says how streams began, and afterwards how those did that have not ended.
    """
    begun |= await beginnings(conn, recorded_events, begun)
    changes = kind(await _remembered(conn, recorded_events), begun)
    ended: set[str] = set()
    for recorded_event in recorded_events:
        changes.apply(recorded_event)
        if isinstance(recorded_event.event, END):
            ended.add(recorded_event.event.originator_id)
        elif isinstance(recorded_event.event, BEGIN):
            ended.discard(recorded_event.event.originator_id)
    for stream in ended:
        del begun[stream]
    return changes


async def follow(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
    """The follower's handler."""
    await _follow(conn, recorded_events, {})


def refilling() -> Handle:
    """The handler of a rebuild. It is shown every beginning and keeps it: those in archives are in no table."""
    begun: dict[str, Beginning] = {}

    async def handle(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
        await _follow(conn, recorded_events, begun)

    return handle


async def _follow(conn: Connection, recorded_events: Sequence[RecordedEvent], begun: dict[str, Beginning]) -> None:
    """Before a sweep of retention everything is written, so that batches make no difference."""
    begin = 0
    for index, recorded_event in enumerate(recorded_events):
        if isinstance(recorded_event.event, Retention.ExecutionsSwept):
            await _book(conn, recorded_events[begin:index], begun)
            await conn.execute(CELLS["sweep"], _swept(recorded_event.project, recorded_event.event))
            begin = index + 1
    await _book(conn, recorded_events[begin:], begun)


async def _book(conn: Connection, recorded_events: Sequence[RecordedEvent], begun: dict[str, Beginning]) -> None:
    if not recorded_events:
        return
    changes = await fold(conn, recorded_events, CubeChanges, begun)
    if changes.projects:
        params = {"projects": list(changes.projects)}
        await conn.execute(QUERIES["forget_projects"], params)
        for table in GRAINS:
            await conn.execute(of_table("forget_projects", table), params)
    await _write_deployments(conn, changes)
    if changes.cells:
        await conn.execute(QUERIES["add"], _totals(changes.cells))
        await conn.execute(_ADD, {"cells": _encode(rows(changes.cells)).decode()})


def table_of(grain: int, cube: str = "") -> str:
    """Where cells of a length in minutes are; those of calls have a table of their own."""
    return _OF_CALLS if cube == CALLS else next(table for table, grains in GRAINS.items() if grain in grains)


def of_table(query: str, table: str) -> Composed:
    """A statement on the cube, for one of its tables."""
    return SQL(CELLS[query]).format(table=Identifier(table))


def _swept(project_id: str, event: Retention.ExecutionsSwept) -> dict[str, object]:
    return {
        "project_id": project_id,
        "function_id": event.function_id,
        "function_sequence": event.function_incarnation,
        "up_to": event.up_to,
    }


async def _remembered(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> dict[tuple[str, str], Remembered]:
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
    return {
        (row["project_id"], row["deployment_id"]): Remembered(
            Owner(row["function_id"], row["function_sequence"]), row["source_bytes"]
        )
        for row in await (await conn.execute(QUERIES["deployments"], params)).fetchall()
    }


async def _write_deployments(conn: Connection, changes: Changes) -> None:
    gone = [key for key in changes.touched if key not in changes.deployments]
    if gone:
        params: dict[str, object] = {"projects": [p for p, _ in gone], "deployments": [d for _, d in gone]}
        await conn.execute(QUERIES["forget_deployments"], params)
    kept = [(key, changes.deployments[key]) for key in changes.touched if key in changes.deployments]
    if kept:
        params = {
            "projects": [project for (project, _), _ in kept],
            "deployments": [deployment for (_, deployment), _ in kept],
            "functions": [remembered.owner.function_id for _, remembered in kept],
            "sequences": [remembered.owner.function_sequence for _, remembered in kept],
            "bytes": [remembered.source_bytes for _, remembered in kept],
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


def _added() -> Composed:
    """Cells are sent once and written to all tables in one statement: JSON is several times cheaper than arrays."""
    inserts = [
        SQL(CELLS["add"]).format(
            table=Identifier(table), grains=Literal(list(grains)), calls=Literal(table == _OF_CALLS)
        )
        for table, grains in GRAINS.items()
    ]
    named = [SQL("{} AS ({})").format(Identifier(f"into_{n}"), insert) for n, insert in enumerate(inserts[:-1])]
    return SQL(", ").join([SQL(CELLS["cells"]), *named]) + SQL(" ") + inserts[-1]


_ADD = _added()
