"""How much was used, as the two usage endpoints show it: sums over all time, and a series of hours or days.

Readers see every event up to the moment they ask: what the follower has not booked yet is folded on the fly.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from annals.projections.usage import follower
from annals.projections.usage.deltas import Changes, Line
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
"""The contract's word for a series (its all-time value is the same with `Total`) and the name that it is kept under."""

_WORDS = {metric: word for word, metric in METRICS.items()}
_GRAINS = {"hour": 60, "day": 1440}
_TAIL = 2000
_WAIT_SECONDS = 5.0
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
QUERIES = sql.load(__package__, "reading.sql")

Sums = defaultdict[str, float]
Points = defaultdict[tuple[str, datetime], float]


class Scope(NamedTuple):
    """A project, or one function of it in one incarnation."""

    project_id: str
    function_id: str | None = None
    function_sequence: int | None = None

    def covers(self, line: Line) -> bool:
        mine = self.function_id is None or (line.function_id, line.function_sequence) == self[1:]
        return mine and line.project_id == self.project_id


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """By the contract's words: `totals` over all time, and `series` with a value for each of the `periods`.

    A period is an hour or a day, told by its beginning; they ascend.
    """

    periods: Sequence[datetime]
    totals: dict[str, int]
    series: dict[str, list[int]]

    @property
    def builds_time_average(self) -> int:
        """Milliseconds a build, 0 without builds."""
        return self.totals["buildsTime"] // self.totals["builds"] if self.totals["builds"] else 0


class Window(NamedTuple):
    """The periods of a range: the last one is the present hour or day."""

    unit: Literal["hour", "day"]
    periods: list[datetime]

    def of(self, moment: datetime) -> datetime:
        """The beginning of the period that a moment lies in."""
        moment = moment.replace(minute=0, second=0, microsecond=0)
        return moment if self.unit == "hour" else moment.replace(hour=0)


class Found(Protocol):
    """What a read gives."""

    @property
    def rows(self) -> Sequence[Row]: ...

    @property
    def position(self) -> int: ...


class Reads(Protocol):
    """Statements that share a trip and a snapshot with others of the same moment."""

    def rows(self, sql: str, params: tuple[Any, ...]) -> Awaitable[Found]:
        """The rows of a statement, and the position at which they were read."""


async def read_usage(
    database: Database, reader: EventReader, scope: Scope, chosen: Range, now: datetime, *, reads: Reads | None = None
) -> Usage:
    """Usage up to this moment; `now` is in UTC. Raises StoreUnavailable.

    With `reads`, a quiet project's usage costs no connection of its own.
    """
    window = window_of(chosen, now)
    if reads is not None and (booked := await _all_booked(reads, scope, window)) is not None:
        return booked
    deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
    while True:
        late = asyncio.get_running_loop().time() > deadline
        found = await _attempt(database, reader, scope, window, limit=None if late else _TAIL)
        if found is not None:
            return found
        await asyncio.sleep(0.05)  # far behind: the follower books batches much faster than a reader folds them


async def _all_booked(reads: Reads, scope: Scope, window: Window) -> Usage | None:
    """Usage as it is booked; None when the project has events that are not, or the reads went apart."""
    unbooked, totals, series = await asyncio.gather(
        reads.rows(QUERIES["unbooked"], (scope.project_id,)),
        reads.rows(*_totals(scope)),
        reads.rows(*_series(scope, window)),
    )
    if unbooked.rows or not unbooked.position == totals.position == series.position:
        return None
    return usage_of(window.periods, *_sums(totals.rows, series.rows))


async def _attempt(
    database: Database, reader: EventReader, scope: Scope, window: Window, *, limit: int | None
) -> Usage | None:
    """One try, in one snapshot; None when more than `limit` events are not booked yet."""
    async with database.connection() as conn:
        async with conn.pipeline():
            await conn.execute(_BEGIN)
            tail = await conn.execute(QUERIES["tail"], (scope.project_id, limit and limit + 1), binary=True)
            totals = await conn.execute(*_totals(scope), binary=True)
            series = await conn.execute(*_series(scope, window), binary=True)
        events = await tail.fetchall()
        if limit is not None and len(events) > limit:
            await conn.rollback()
            return None
        unbooked = await follower.fold(conn, [reader.recorded_event(row) for row in events], Changes, {})
        await conn.rollback()
        sums, points = _sums(await totals.fetchall(), await series.fetchall())
    add(unbooked, scope, window, sums, points)
    return usage_of(window.periods, sums, points)


def add(changes: Changes, scope: Scope, window: Window, sums: Sums, points: Points) -> None:
    """Count what is not booked yet among the sums, and in the periods it came in."""
    for line, value in changes.deltas.items():
        if scope.covers(line):
            sums[line.metric] += value
            points[line.metric, window.of(line.bucket)] += value


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
            points[metric, row["bucket"]] = float(row[metric])  # sums come as Decimal, which no float is added to
    return sums, points


def usage_of(
    periods: Sequence[datetime], sums: Mapping[str, float], points: Mapping[tuple[str, datetime], float]
) -> Usage:
    """Usage from sums by metric, and by metric and period; what has none is 0."""
    series = {word: [0] * len(periods) for word in METRICS}
    places = {period: place for place, period in enumerate(periods)}
    for (metric, period), value in points.items():
        if value and metric in _WORDS and period in places:
            series[_WORDS[metric]][places[period]] = int(value)
    totals = {word: int(sums.get(metric, 0)) for word, metric in METRICS.items()}
    return Usage(periods=periods, totals=totals, series=series)


def window_of(chosen: Range, now: datetime) -> Window:
    """The hours or days of a range that ends now."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    if chosen == "24h":
        step = timedelta(hours=1)
        return Window("hour", [hour - step * back for back in range(23, -1, -1)])
    step, day = timedelta(days=1), hour.replace(hour=0)
    return Window("day", [day - step * back for back in range(int(chosen[:2]) - 1, -1, -1)])
