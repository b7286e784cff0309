"""Answers to questions about usage: sums by period and group, up to this moment or a past position."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from annals.projections.usage import follower, recount, sketch
from annals.projections.usage.changes import Cell, Counted, columns
from annals.projections.usage.question import MEASURES, RUNNING, CubeQuery, Question, cube_query
from annals.store.log.reader import EventReader
from annals.store.postgres.database import Connection, Database, Row

Value = int | float | None
Measured = dict[str, Value]

_PERCENTILES = ("p50", "p95", "p99")
_SHARES = (0.5, 0.95, 0.99)
_SHOWN: dict[float | None, float | None] = {None: None, **{value: round(value, 1) for value in sketch.VALUES}}


class UsageGroup(msgspec.Struct, kw_only=True):
    """A group: its key by dimension, its total, a value for each period, and those of the periods compared with."""

    key: dict[str, str | int]
    total: Measured
    series: list[Measured]
    previous: Measured | None = None
    previous_series: list[Measured] | None = None


class UsageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`groups` by rank, the sum of the `other` groups, and the `total`; `periods` are the starts of the periods."""

    position: int
    periods: Sequence[datetime]
    end: datetime
    groups: Sequence[UsageGroup]
    other: UsageGroup | None
    total: UsageGroup


async def answer(database: Database, reader: EventReader, question: Question) -> UsageAnswer:
    """Answer a question with every event up to this moment. Raises StoreUnavailable."""

    async def attempt(limit: int | None) -> UsageAnswer | None:
        async with database.transaction() as conn:
            async with conn.pipeline():
                await conn.execute(recount.SNAPSHOT)
                booked = await conn.execute(recount.QUERIES["booked"], binary=True)
                params = {"project_id": question.project_id, "limit": limit and limit + 1}
                newer = await conn.execute(recount.QUERIES["tail"], params, binary=True)
            tail = await newer.fetchall()
            if limit is not None and len(tail) > limit:
                return None
            known = await booked.fetchone()
            changes = await follower.fold(conn, [reader.recorded_event(row) for row in tail], {})
            cells = {cell: sums for cell, sums in changes.cells.items() if cell.project_id == question.project_id}
            query = cube_query(question, calls=known is not None and known["calls"])
            rows = await _rows(conn, query, cells)
        position = 0 if known is None else int(known["position"])
        return _shaped(question, tail[-1]["notification_id"] if tail else position, rows)

    return await recount.with_short_tail(attempt)


async def answer_at(
    database: Database, reader: EventReader, question: Question, *, position: int, moment: datetime, since: int = 0
) -> UsageAnswer:
    """Answer a question as of a past position, of a project that was created at `since`.

    Raises NotBooked, StoreUnavailable.
    """
    project = question.project_id
    cut = await recount.cut_at(reader, project, since=since, position=position, moment=moment)
    async with database.transaction() as conn:
        changes, booked = await recount.changes_since(conn, reader, project, cut)
        rows = await _rows(conn, cube_query(question, cut.until, calls=booked["calls"]), changes.cells)
    return _shaped(question, position, rows)


async def _rows(conn: Connection, query: CubeQuery, cells: Mapping[Cell, Counted]) -> list[Row]:
    """Run a query, which is planned each time: hardly two questions have the same periods."""
    params = query.params | {f"tail_{name}": column for name, column in columns(cells).items()}
    return await (await conn.execute(query.query, params, prepare=False, binary=True)).fetchall()


def _shaped(question: Question, position: int, rows: Sequence[Row]) -> UsageAnswer:
    """Return an answer from the rows of its query."""
    ranks: dict[int | None, dict[tuple[int, int | None], Row]] = {}
    for row in rows:
        ranks.setdefault(row["rank"], {})[row["era"], row["period"]] = row
    total = _group(question, ranks.pop(None, {}), named=False)
    rest = ranks.pop(0, None)
    named = sorted(rank for rank in ranks if rank) if question.group_by else []
    groups = [_group(question, ranks[rank], named=True) for rank in named]
    return UsageAnswer(
        position=position,
        periods=question.edges[question.compared : -1],
        end=question.end,
        groups=[group for group in groups if _has_values(group)],
        other=None if rest is None else _group(question, rest, named=False),
        total=total,
    )


def _group(question: Question, rows: Mapping[tuple[int, int | None], Row], *, named: bool) -> UsageGroup:
    count = len(question.edges) - 1
    measured = _measurer(question)
    levels = {measure: 0 for measure in RUNNING if measure in question.measures}
    _raise_levels(levels, rows.get((0, 0)))
    series: list[Measured] = []
    for period in range(1, count + 1):
        row = rows.get((1 if period <= question.compared else 2, period))
        _raise_levels(levels, row)
        series.append(measured(row, levels))
    former = series[: question.compared]
    return UsageGroup(
        key=_key(question, next(iter(rows.values()))) if named else {},
        total=measured(rows.get((2, None)), levels),
        series=series[question.compared :],
        previous=measured(rows.get((1, None)), {m: former[-1][m] for m in levels}) if former else None,
        previous_series=former or None,
    )


def _has_values(group: UsageGroup) -> bool:
    """Return True if a measure is not zero: groups of builds have no executions, and the reverse."""
    measured = [group.total, *group.series, *(group.previous_series or ())]
    return any(value for values in measured for value in values.values())


def _key(question: Question, row: Row) -> dict[str, str | int]:
    return {dimension: row[dimension] for dimension in question.group_by}


def _raise_levels(levels: dict[str, int], row: Row | None) -> None:
    if row is not None:
        for measure in levels:
            levels[measure] += row[MEASURES[measure]]


def _measurer(question: Question) -> Callable[[Row | None, Mapping[str, Value]], Measured]:
    """Return a function that turns a row and the levels into measures, in the question's order."""
    measures, sketches = question.measures, question.sketches
    columns = [MEASURES[measure] for measure in measures]
    percentiles = [(index, measure) for index, measure in enumerate(_PERCENTILES) if measure in measures]

    def measured(row: Row | None, levels: Mapping[str, Value]) -> Measured:
        if row is None:
            return {m: levels.get(m, None if m in _PERCENTILES else 0) for m in measures}
        found: Measured = dict(zip(measures, [row[column] for column in columns], strict=True))
        found.update(levels)
        if sketches:
            values = sketch.percentiles(row["sketch"], _SHARES, row["executions"])
            for index, measure in percentiles:
                found[measure] = _SHOWN[values[index]]
        return found

    return measured
