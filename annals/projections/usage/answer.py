"""Answers about usage: sums of the cube by period and group, up to this moment, and what else they were built from."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from annals.projections.usage import follower, sketch
from annals.projections.usage.cells import CubeChanges, columns
from annals.projections.usage.question import MEASURES, RUNNING, Question
from annals.projections.usage.statement import statement
from annals.store.log.reader import EventReader
from annals.store.postgres.database import Database, Row

Value = int | float | None
Measured = dict[str, Value]

_TAIL = 2000
_WAIT_SECONDS = 5.0
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_PERCENTILES = ("p50", "p95", "p99")
_SHARES = (0.5, 0.95, 0.99)
_SHOWN: dict[float | None, float | None] = {None: None, **{value: round(value, 1) for value in sketch.VALUES}}


class Group(msgspec.Struct, kw_only=True):
    """One group: its key by dimension, its total, and a value for each period; `previous` ones where compared with."""

    key: dict[str, str | int]
    total: Measured
    series: list[Measured]
    previous: Measured | None = None
    previous_series: list[Measured] | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`groups` by rank, `other` the rest of them in one, `total` all of it; `periods` are the moments they begin at."""

    position: int
    periods: Sequence[datetime]
    end: datetime
    groups: Sequence[Group]
    other: Group | None
    total: Group


async def answer(database: Database, reader: EventReader, question: Question) -> Answer:
    """Every event up to this moment counts. Raises StoreUnavailable."""
    deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
    while True:
        late = asyncio.get_running_loop().time() > deadline
        found = await _attempt(database, reader, question, limit=None if late else _TAIL)
        if found is not None:
            return shaped(question, *found)
        await asyncio.sleep(0.05)  # far behind: the follower books batches much faster than a reader folds them


async def _attempt(
    database: Database, reader: EventReader, question: Question, *, limit: int | None
) -> tuple[int, list[Row]] | None:
    """One try, in one snapshot; None when more than `limit` events are not booked yet."""
    async with database.transaction() as conn:
        await conn.execute(_SNAPSHOT)
        booked = await (await conn.execute(follower.QUERIES["booked"], binary=True)).fetchone()
        position = 0 if booked is None else int(booked["position"])
        wanted = {"project_id": question.project_id, "position": position, "limit": limit and limit + 1}
        tail = await (await conn.execute(follower.QUERIES["tail"], wanted, binary=True)).fetchall()
        if limit is not None and len(tail) > limit:
            return None
        unbooked = await follower.fold(conn, [reader.recorded_event(row) for row in tail], CubeChanges, {})
        cells = {cell: counted for cell, counted in unbooked.cells.items() if cell.project_id == question.project_id}
        query, params = statement(question, calls=booked is not None and booked["calls"])
        params |= {f"tail_{name}": column for name, column in columns(cells).items()}
        # Planned for each question: no two are made of the same stretches of time.
        rows = await (await conn.execute(query, params, prepare=False, binary=True)).fetchall()
    return (tail[-1]["notification_id"] if tail else position), rows


def shaped(question: Question, position: int, rows: Sequence[Row]) -> Answer:
    """An answer from the rows of its statement."""
    ranks: dict[int | None, dict[tuple[int, int | None], Row]] = {}
    for row in rows:
        ranks.setdefault(row["rank"], {})[row["era"], row["period"]] = row
    total = _group(question, ranks.pop(None, {}), named=False)
    rest = ranks.pop(0, None)
    named = sorted(rank for rank in ranks if rank) if question.group_by else []
    groups = [_group(question, ranks[rank], named=True) for rank in named]
    return Answer(
        position=position,
        periods=question.edges[question.compared : -1],
        end=question.end,
        groups=[group for group in groups if _tells(group)],
        other=None if rest is None else _group(question, rest, named=False),
        total=total,
    )


def _group(question: Question, rows: Mapping[tuple[int, int | None], Row], *, named: bool) -> Group:
    count, measured = len(question.edges) - 1, _measurer(question)
    levels = {measure: 0 for measure in RUNNING if measure in question.measures}
    _rise(levels, rows.get((0, 0)))
    series: list[Measured] = []
    for period in range(1, count + 1):
        row = rows.get((1 if period <= question.compared else 2, period))
        _rise(levels, row)
        series.append(measured(row, levels))
    former = series[: question.compared]
    return Group(
        key=_key(question, next(iter(rows.values()))) if named else {},
        total=measured(rows.get((2, None)), levels),
        series=series[question.compared :],
        previous=measured(rows.get((1, None)), {m: former[-1][m] for m in levels}) if former else None,
        previous_series=former or None,
    )


def _tells(group: Group) -> bool:
    """Whether it has any of what was asked for: builds make groups without executions, and those none of builds."""
    measured = [group.total, *group.series, *(group.previous_series or ())]
    return any(value for values in measured for value in values.values())


def _key(question: Question, row: Row) -> dict[str, str | int]:
    return {dimension: row[dimension] for dimension in question.group_by}


def _rise(levels: dict[str, int], row: Row | None) -> None:
    if row is not None:
        for measure in levels:
            levels[measure] += row[MEASURES[measure]]


def _measurer(question: Question) -> Callable[[Row | None, Mapping[str, Value]], Measured]:
    """What tells a row's measures in the order in which they were asked for, given those that are levels."""
    measures, sketches = question.measures, question.sketches
    columns = [MEASURES[measure] for measure in measures]
    told = [(place, measure) for place, measure in enumerate(_PERCENTILES) if measure in measures]

    def measured(row: Row | None, levels: Mapping[str, Value]) -> Measured:
        if row is None:
            return {m: levels.get(m, None if m in _PERCENTILES else 0) for m in measures}
        found: Measured = dict(zip(measures, [row[column] for column in columns], strict=True))
        found.update(levels)
        if sketches:
            values = sketch.percentiles(row["sketch"], _SHARES, row["executions"])
            for place, measure in told:
                found[measure] = _SHOWN[values[place]]
        return found

    return measured
