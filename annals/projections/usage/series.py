"""Usage as the two usage endpoints show it: sums over all time, and a series of hours or days.

The answer counts every event up to the moment of the request. It has statements of its own, not those of questions:
they are prepared once, share a pipeline with other reads, and take a quarter of the time.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from annals.projections.usage import follower, recount
from annals.projections.usage.changes import Cell, UsageChanges
from annals.store.log.reader import EventReader
from annals.store.postgres import sql
from annals.store.postgres.database import Database, Row

Range = Literal["24h", "30d", "90d"]

METRICS: Mapping[str, str] = {
    "functions": "functions",
    "deployments": "deployments",
    "deploymentsStorage": "deployments_storage",
    "builds": "builds",
    "buildsSuccess": "builds_success",
    "buildsFailed": "builds_failed",
    "buildsStorage": "builds_storage",
    "buildsTime": "builds_time_ms",
    "buildsMbSeconds": "builds_mb_seconds",
    "executions": "executions",
    "executionsTime": "executions_time_ms",
    "executionsMbSeconds": "executions_mb_seconds",
}
"""The contract's name of a series (its sum over all time has the suffix `Total`), and the metric behind it."""

_WORDS = {metric: word for word, metric in METRICS.items()}
_GRAINS = {"hour": 60, "day": 1440}
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
QUERIES = sql.load(__package__, "series.sql")

Sums = defaultdict[str, float]
Points = defaultdict[tuple[str, datetime], float]


class Scope(NamedTuple):
    """A project, or one function of it in one incarnation."""

    project_id: str
    function_id: str | None = None
    function_sequence: int | None = None

    def covers(self, cell: Cell) -> bool:
        """Return True for a cell of the project, or of the function in its incarnation."""
        own = self.function_id is None or (cell.function_id, cell.function_sequence) == self[1:]
        return own and cell.project_id == self.project_id


class UsageSeries(msgspec.Struct, frozen=True, kw_only=True):
    """`totals` over all time and `series` with a value for each period, by the contract's names.

    `periods` are the starts of hours or days, in ascending order.
    """

    periods: Sequence[datetime]
    totals: dict[str, int]
    series: dict[str, list[int]]

    @property
    def builds_time_average(self) -> int:
        """Milliseconds a build, 0 without builds."""
        return self.totals["buildsTime"] // self.totals["builds"] if self.totals["builds"] else 0


class Window(NamedTuple):
    """The periods of a range; the last one is the present hour or day."""

    unit: Literal["hour", "day"]
    periods: list[datetime]

    def of(self, moment: datetime) -> datetime:
        """Return the start of the period that a moment lies in."""
        moment = moment.replace(minute=0, second=0, microsecond=0)
        return moment if self.unit == "hour" else moment.replace(hour=0)


class ReadRows(Protocol):
    """The rows of a read, and the position at which it was made."""

    @property
    def rows(self) -> Sequence[Row]: ...

    @property
    def position(self) -> int: ...


class PipelinedReads(Protocol):
    """Runs statements in one pipeline and snapshot with those of other requests at the same moment."""

    def rows(self, sql: str, params: tuple[Any, ...]) -> Awaitable[ReadRows]:
        """Return the rows of a statement, and the position at which they were read."""


async def read_usage(
    database: Database,
    reader: EventReader,
    scope: Scope,
    chosen: Range,
    now: datetime,
    *,
    reads: PipelinedReads | None = None,
) -> UsageSeries:
    """Return usage up to this moment; `now` is in UTC. Raises StoreUnavailable.

    With `reads`, the usage of a quiet project needs no connection of its own.
    """
    window = window_of(chosen, now)
    if reads is not None and (booked := await _all_booked(reads, scope, window)) is not None:
        return booked
    return await recount.with_short_tail(lambda limit: _attempt(database, reader, scope, window, limit=limit))


async def read_usage_at(
    database: Database,
    reader: EventReader,
    scope: Scope,
    chosen: Range,
    *,
    position: int,
    moment: datetime,
    since: int = 0,
) -> UsageSeries:
    """Return usage as of a past position; `moment` is the time of its event. The project was created at `since`.

    Raises NotBooked, StoreUnavailable.
    """
    window = window_of(chosen, moment)
    cut = await recount.cut_at(reader, scope.project_id, since=since, position=position, moment=moment)
    day = cut.until.replace(hour=0, minute=0)
    params = {
        **scope._asdict(),
        "cube": "total" if scope.function_id is None else "place",
        "unit": window.unit,
        "since": window.periods[0],
        # a series of hours takes quarters, else whole days would be in its first hour
        "days_until": day if window.unit == "day" else min(day, window.periods[0].replace(hour=0, minute=0)),
        "until": cut.until,
    }
    async with database.transaction() as conn:
        changes, _ = await recount.changes_since(conn, reader, scope.project_id, cut)
        rows = await (await conn.execute(QUERIES["sums_until"], params, binary=True)).fetchall()
    sums: Sums = defaultdict(float)
    points: Points = defaultdict(float)
    for row in rows:
        for metric in METRICS.values():
            value = float(row[metric])
            sums[metric] += value
            if row["period"] is not None:
                points[metric, row["period"]] += value
    _add(changes, scope, window, sums, points)
    return _usage(window.periods, sums, points)


async def _all_booked(reads: PipelinedReads, scope: Scope, window: Window) -> UsageSeries | None:
    """Return usage as booked; None if the project has newer events, or if the reads saw different positions."""
    unbooked, totals, series = await asyncio.gather(
        reads.rows(QUERIES["unbooked"], (scope.project_id,)),
        reads.rows(*_totals(scope)),
        reads.rows(*_series(scope, window)),
    )
    if unbooked.rows or not unbooked.position == totals.position == series.position:
        return None
    return _usage(window.periods, *_sums(totals.rows, series.rows))


async def _attempt(
    database: Database, reader: EventReader, scope: Scope, window: Window, *, limit: int | None
) -> UsageSeries | None:
    """Read in one snapshot; return None if more than `limit` events are not booked yet."""
    params = {"project_id": scope.project_id, "limit": limit and limit + 1}
    async with database.connection() as conn:
        async with conn.pipeline():
            await conn.execute(_BEGIN)
            tail = await conn.execute(recount.QUERIES["tail"], params, binary=True)
            totals = await conn.execute(*_totals(scope), binary=True)
            series = await conn.execute(*_series(scope, window), binary=True)
        events = await tail.fetchall()
        if limit is not None and len(events) > limit:
            await conn.rollback()
            return None
        unbooked = await follower.fold(conn, [reader.recorded_event(row) for row in events], {})
        await conn.rollback()
        sums, points = _sums(await totals.fetchall(), await series.fetchall())
    _add(unbooked, scope, window, sums, points)
    return _usage(window.periods, sums, points)


def _add(changes: UsageChanges, scope: Scope, window: Window, sums: Sums, points: Points) -> None:
    """Add events that are not booked to the sums, and to their periods."""
    for cell, counted in changes.cells.items():
        if scope.covers(cell):
            period = window.of(cell.minute)
            for metric, value in counted.sums.items():
                sums[metric] += value
                points[metric, period] += value


def _totals(scope: Scope) -> tuple[str, tuple[Any, ...]]:
    return QUERIES["totals_of_function" if scope.function_id else "totals_of_project"], _owner(scope)


def _series(scope: Scope, window: Window) -> tuple[str, tuple[Any, ...]]:
    grain = _GRAINS[window.unit]
    query = QUERIES["series_of_function" if scope.function_id else "series_of_project"]
    return query.replace("{table}", follower.table_of(grain)), (grain, window.periods[0], *_owner(scope))


def _owner(scope: Scope) -> tuple[str | int | None, ...]:
    return tuple(scope) if scope.function_id else (scope.project_id,)


def _sums(totals: Sequence[Row], series: Sequence[Row]) -> tuple[Sums, Points]:
    sums, points = defaultdict(float, {row["metric"]: row["value"] for row in totals}), defaultdict(float)
    for row in series:
        for metric in METRICS.values():
            points[metric, row["bucket"]] = float(row[metric])  # sums are Decimal, to which no float can be added
    return sums, points


def _usage(
    periods: Sequence[datetime], sums: Mapping[str, float], points: Mapping[tuple[str, datetime], float]
) -> UsageSeries:
    """Return usage from sums by metric, and by metric and period. A missing one is 0."""
    series = {word: [0] * len(periods) for word in METRICS}
    indexes = {period: index for index, period in enumerate(periods)}
    for (metric, period), value in points.items():
        if value and metric in _WORDS and period in indexes:
            series[_WORDS[metric]][indexes[period]] = int(value)
    totals = {word: int(sums.get(metric, 0)) for word, metric in METRICS.items()}
    return UsageSeries(periods=periods, totals=totals, series=series)


def window_of(chosen: Range, now: datetime) -> Window:
    """Return the hours or days of a range that ends now."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    if chosen == "24h":
        step = timedelta(hours=1)
        return Window("hour", [hour - step * back for back in range(23, -1, -1)])
    step, day = timedelta(days=1), hour.replace(hour=0)
    return Window("day", [day - step * back for back in range(int(chosen[:2]) - 1, -1, -1)])
