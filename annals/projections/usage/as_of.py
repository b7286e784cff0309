"""How much had been used by a position: whole quarters of an hour of the cube, and a recount of what came after."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.projections.usage import follower
from annals.projections.usage.answer import Answer, shaped
from annals.projections.usage.cells import CubeChanges, columns
from annals.projections.usage.deltas import Changes, Owner, Remembered, bucket_of, own_id
from annals.projections.usage.question import Question
from annals.projections.usage.reading import METRICS, Points, Range, Scope, Sums, Usage, add, usage_of, window_of
from annals.projections.usage.statement import statement
from annals.projections.usage.stream_heads import all_beginnings
from annals.store.log.reader import EventReader, RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection, Database, Row

QUERIES = sql.load(__package__, "as_of.sql")
_BATCH = 2000
_MILLISECOND = timedelta(milliseconds=1)
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"


class NotBooked(Exception):
    """The follower of usage has not come as far as the answer needs, which is `position`."""

    def __init__(self, position: int) -> None:
        super().__init__(f"usage is not booked up to position {position}")
        self.position = position


async def read_usage_then(
    database: Database,
    reader: EventReader,
    scope: Scope,
    chosen: Range,
    *,
    position: int,
    moment: datetime,
    since: int = 0,
) -> Usage:
    """Usage as it was at a position, told at a moment of which it was the last event's.

    The project was created at `since`. Versions of rows are kept up to the position.

    Raises NotBooked, StoreUnavailable.
    """
    window = window_of(chosen, moment)
    until, before, tail = await _recounted(reader, scope.project_id, Span(since, position), moment)
    day = until.replace(hour=0, minute=0)
    params = {
        **scope._asdict(),
        "cube": "total" if scope.function_id is None else "place",
        "unit": window.unit,
        "since": window.periods[0],
        # a series of hours takes quarters, else whole days would be in its first hour
        "days_until": day if window.unit == "day" else min(day, window.periods[0].replace(hour=0, minute=0)),
        "until": until,
    }
    async with database.transaction() as conn:
        await _booked(conn, before)
        remembered = await _remembered(conn, scope.project_id, before, tail)
        changes = Changes(remembered, await all_beginnings(conn, reader, tail))
        rows = await (await conn.execute(QUERIES["sums"], params, binary=True)).fetchall()
    for recorded_event in tail:
        changes.apply(recorded_event)
    sums: Sums = defaultdict(float)
    points: Points = defaultdict(float)
    for row in rows:
        for metric in METRICS.values():
            value = float(row[metric])
            sums[metric] += value
            if row["period"] is not None:
                points[metric, row["period"]] += value
    add(changes, scope, window, sums, points)
    return usage_of(window.periods, sums, points)


async def answer_then(
    database: Database, reader: EventReader, question: Question, *, position: int, moment: datetime, since: int = 0
) -> Answer:
    """A question answered as it was at a position, of a project created at `since`.

    Raises NotBooked, StoreUnavailable.
    """
    project = question.project_id
    until, before, tail = await _recounted(reader, project, Span(since, position), moment)
    async with database.transaction() as conn:
        booked = await _booked(conn, before)
        remembered = await _remembered(conn, project, before, tail)
        changes = CubeChanges(remembered, await all_beginnings(conn, reader, tail))
        for recorded_event in tail:
            changes.apply(recorded_event)
        query, params = statement(question, until, calls=booked["calls"])
        params |= {f"tail_{name}": column for name, column in columns(changes.cells).items()}
        rows = await (await conn.execute(query, params, prepare=False, binary=True)).fetchall()
    return shaped(question, position, rows)


class Span(NamedTuple):
    """Positions of a project's log, from its creation on."""

    since: int
    last: int


async def _recounted(
    reader: EventReader, project: str, span: Span, moment: datetime
) -> tuple[datetime, int, list[RecordedEvent]]:
    """Up to which quarter of an hour the cube tells, the position before it, and what came since."""
    until = bucket_of(moment)
    before = max(span.since - 1, await reader.position_at(until - _MILLISECOND))
    tail = [
        recorded_event
        for recorded_event in await _tail(reader, project, before, span.last)
        if recorded_event.recorded_at >= until
    ]
    return until, before, tail


async def _booked(conn: Connection, position: int) -> Row:
    """Begin a snapshot that has everything up to a position. Raises NotBooked."""
    await conn.execute(_SNAPSHOT)
    booked = await (await conn.execute(follower.QUERIES["booked"])).fetchone()
    if booked is None or booked["position"] < position:
        raise NotBooked(position)
    return booked


async def _tail(reader: EventReader, project: str, after: int, until: int) -> list[RecordedEvent]:
    """A project's facts between two positions: of a quarter of an hour at most."""
    found: list[RecordedEvent] = []
    while batch := await reader.after(after, _BATCH, project=project, until=until):
        found += batch
        after = batch[-1].position
        await asyncio.sleep(0)
    return found


async def _remembered(
    conn: Connection, project: str, position: int, recorded_events: Sequence[RecordedEvent]
) -> dict[tuple[str, str], Remembered]:
    """The deployments that the facts speak of, as they were before them."""
    params: dict[str, object] = {
        "project_id": project,
        "position": position,
        "deployments": [
            own_id(recorded_event.event)
            for recorded_event in recorded_events
            if isinstance(recorded_event.event, Deployment.Event)
        ],
        "functions": [
            own_id(recorded_event.event)
            for recorded_event in recorded_events
            if isinstance(recorded_event.event, Function.Deleted)
        ],
    }
    rows = await (await conn.execute(QUERIES["deployments"], params)).fetchall()
    return {
        (project, row["id"]): Remembered(Owner(row["function_id"], row["function_sequence"]), row["source_bytes"])
        for row in rows
    }
