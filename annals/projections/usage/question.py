"""A question about usage: its exact periods, the cells of the cube that answer it, and the statement that reads them.

A question is answered from the smallest cube that has its keys, with as few cells as possible. No day of Berlin is a
day of UTC, yet both share all but two hours. So days are read whole, each for the period that has most of it. Then the
hours beside a period's edges are moved from that period to the one that they belong to. Quarters of an hour likewise,
if an edge lies within an hour.

One file because periods, levels and statement are three steps of one computation.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from psycopg.sql import SQL, Composed, Identifier, Literal

from annals.projections.usage import follower
from annals.projections.usage.changes import CALLS
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "question.sql")
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
GRAINS = (1440, 60, 15)
INTERVALS = ("minute", "quarter", "hour", "day", "week", "month", "total")
DIMENSIONS = ("function", "deployment", "trigger", "status", "reason", "specification", "hour")
FILTERS = DIMENSIONS[:-1]

MEASURES: Mapping[str, str] = {
    "count": "executions",
    "errors": "errors",
    "duration": "executions_time_ms",
    "p50": "sketch",
    "p95": "sketch",
    "p99": "sketch",
    "mbSeconds": "executions_mb_seconds",
    "coldStarts": "cold_starts",
    "queueTime": "queue_ms",
    "builds": "builds",
    "buildTime": "builds_time_ms",
    "storage": "deployments_storage",
    "buildStorage": "builds_storage",
}
"""Each measure's name on the wire and its column in the cube; times in milliseconds, sizes in bytes."""

RUNNING = ("storage", "buildStorage")
"""Measures whose value is the level at the end of a period, not a sum of it."""

MAX_PERIODS = 10_000
_CUBES = (
    ("total", frozenset[str]()),
    ("size", frozenset({"specification"})),
    ("outcome", frozenset({"trigger", "status", "reason"})),
    ("place", frozenset({"function", "deployment"})),
    (CALLS, frozenset({"function", "trigger"})),
)
_MINUTES = {"minute": 1, "quarter": 15, "hour": 60}

_COLUMNS = {
    "function": "function_id", "deployment": "deployment_id", "trigger": "trigger", "status": "status",
    "reason": "reason", "specification": "specification",
}  # fmt: skip
_COUNTED = ("executions", "executions_time_ms", "builds", "deployments_storage")
"""At least one of these is not zero if anything was counted."""

_BEFORE_ALL = "-infinity"


class Unanswerable(ValueError):
    """A question without an answer; the message says why."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question with exact periods: `edges` are the start of every period, and the end of the last one.

    `compared` is the number of earlier periods to compare with; `edges` include them.
    """

    project_id: str
    interval: str
    zone: ZoneInfo
    edges: Sequence[datetime]
    compared: int = 0
    group_by: Sequence[str] = ()
    measures: Sequence[str] = ("count",)
    filters: Mapping[str, Sequence[str]] = {}
    top: int = 10

    @property
    def start(self) -> datetime:
        return self.edges[0]

    @property
    def end(self) -> datetime:
        return self.edges[-1]

    @property
    def opening(self) -> bool:
        """Whether the answer needs the sums of everything before the periods."""
        return any(measure in RUNNING for measure in self.measures)

    @property
    def sketches(self) -> bool:
        return any(MEASURES[measure] == "sketch" for measure in self.measures)

    @property
    def order(self) -> str:
        """The column by which groups are ranked: that of the first measure with a sum."""
        return next((MEASURES[m] for m in self.measures if MEASURES[m] != "sketch"), "executions")

    def cube(self, *, calls: bool) -> str:
        """Return the smallest cube that has the keys; `calls` says whether the cube of calls exists."""
        if self.interval == "minute":
            return "all"
        keys = {*self.group_by, *self.filters} - {"hour"}
        return next((cube for cube, cube_keys in _CUBES if keys <= cube_keys and (calls or cube != CALLS)), "all")

    @property
    def grains(self) -> Sequence[int]:
        """The lengths of cells, in minutes, that the answer may use; no hours if the zone's cross those of UTC."""
        if self.interval == "minute":
            return (1,)
        if "hour" in self.group_by:
            return (15,) if self._has_odd_hours() else (60, 15)
        return (1440, 60, 15)

    def _has_odd_hours(self) -> bool:
        """Return True if an hour of the zone begins inside an hour of UTC at some time of the range."""
        moments = (self.start + timedelta(days=days) for days in range(0, (self.end - self.start).days + 31, 30))
        return any((moment.astimezone(self.zone).utcoffset() or timedelta()) % timedelta(hours=1) for moment in moments)


def edges_of(start: datetime, end: datetime, interval: str, zone: ZoneInfo) -> list[datetime]:
    """Return the edges, in UTC, of the periods that cover the range. Raises Unanswerable for none or too many."""
    if end <= start:
        raise Unanswerable("`from` must lie before `to`.")
    if interval == "total":
        return [_floor(start, "quarter", zone), _ceiling(end, zone)]
    edges = [_floor(start, interval, zone)]
    while edges[-1] < end:
        if len(edges) > MAX_PERIODS:
            raise Unanswerable(f"More than {MAX_PERIODS:,} periods: choose a longer interval or a shorter range.")
        edges.append(_following(edges[-1], interval, zone))
    return edges


def before(edges: Sequence[datetime], interval: str, zone: ZoneInfo) -> list[datetime]:
    """Return the edges of as many periods just before, without the common edge."""
    if interval == "total":
        return [edges[0] - (edges[-1] - edges[0])]
    found = [edges[0]]
    for _ in edges[1:]:
        found.append(_floor(found[-1] - timedelta(microseconds=1), interval, zone))
    return found[:0:-1]


def _ceiling(moment: datetime, zone: ZoneInfo) -> datetime:
    floor = _floor(moment, "quarter", zone)
    return floor if floor == moment else floor + timedelta(minutes=15)


def _floor(moment: datetime, interval: str, zone: ZoneInfo) -> datetime:
    if interval in _MINUTES:
        # Offsets of zones are whole quarters of an hour: short periods need the offset only, no calendar.
        shift = moment.astimezone(zone).utcoffset() or timedelta()
        return moment.astimezone(UTC) - (moment + shift - EPOCH) % timedelta(minutes=_MINUTES[interval])
    day = moment.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if interval == "week":
        day -= timedelta(days=day.weekday())
    elif interval == "month":
        day = day.replace(day=1)
    return day.astimezone(UTC)


def _following(edge: datetime, interval: str, zone: ZoneInfo) -> datetime:
    if interval in _MINUTES:
        return _floor(edge + timedelta(minutes=_MINUTES[interval]), interval, zone)
    # A day has 23 to 25 hours where clocks change: noon of the next day is always within it.
    day = edge.astimezone(zone)
    days = {"day": 1, "week": 7, "month": 32}[interval]
    return _floor((day + timedelta(days=days)).replace(hour=12).astimezone(UTC), interval, zone)


class Level(NamedTuple):
    """Cells of one length, assigned to periods by the rounded `edges`: all cells, or only those in `beside`.

    A longer level assigned the cells in `beside` by its own edges `former`, and this level moves them.
    """

    grain: int
    edges: Sequence[datetime]
    former: Sequence[datetime] = ()
    beside: Sequence[datetime] = ()


def levels(edges: Sequence[datetime], grains: Sequence[int] = GRAINS) -> list[Level]:
    """Return the cheapest levels for the edges. `grains` are in descending order; the last one divides all edges."""
    return min((_levels_from(edges, grains[index:]) for index in range(len(grains))), key=_cost)


def _levels_from(edges: Sequence[datetime], grains: Sequence[int]) -> list[Level]:
    whole = Level(grains[0], [nearest_start(edge, grains[0]) for edge in edges])
    found = [whole]
    for grain in grains[1:]:
        former = found[-1].edges
        if former == edges:
            break
        finer = [nearest_start(edge, grain) for edge in edges]
        found.append(Level(grain, finer, former, _beside(former, finer, grain)))
    return found


def nearest_start(moment: datetime, grain: int) -> datetime:
    """Return the start of a cell that is nearest to a moment."""
    return cell_start(moment + timedelta(minutes=grain) / 2, grain)


def cell_start(moment: datetime, grain: int) -> datetime:
    """Return the start of the cell that a moment lies in."""
    step = timedelta(minutes=grain)
    return EPOCH + (moment - EPOCH) // step * step


def _beside(former: Sequence[datetime], finer: Sequence[datetime], grain: int) -> list[datetime]:
    """Return the starts of the cells between two roundings of the same edges, without duplicates."""
    step = timedelta(minutes=grain)
    found: set[datetime] = set()
    for coarse_edge, finer_edge in zip(former, finer, strict=True):
        start, end = sorted((coarse_edge, finer_edge))
        found.update(start + step * number for number in range((end - start) // step))
    return sorted(found)


def _cost(found: Sequence[Level]) -> float:
    """Return the number of cells to read. Moved cells are looked up one by one, and count for both of their periods."""
    whole = found[0]
    read = (whole.edges[-1] - whole.edges[0]) / timedelta(minutes=whole.grain)
    return read + sum(2.5 * len(level.beside) for level in found[1:])


class CubeQuery(NamedTuple):
    """A statement with its parameters, except those of events that are not booked yet."""

    query: Composed
    params: dict[str, Any]


class _Part(NamedTuple):
    level: Level
    since: datetime | str
    table: str


def cube_query(question: Question, until: datetime | None = None, *, calls: bool = True) -> CubeQuery:
    """Return the query that answers a question. With `until`, a whole quarter of an hour, only earlier cells count.

    `calls` says whether the cube of calls exists.
    """
    edges = question.edges if until is None else [min(edge, until) for edge in question.edges]
    sums, cube = _sums(question), question.cube(calls=calls)
    params: dict[str, Any] = {
        "project_id": question.project_id,
        "cube": cube,
        "timezone": question.zone.key,
        "edges": list(question.edges),
        "first": 0 if question.opening else 1,
        "last": len(edges) - 1,
        "compared": question.compared,
        "running": question.order in {MEASURES[measure] for measure in RUNNING},
        "top": question.top,
        **{f"only_{dimension}": list(words) for dimension, words in question.filters.items()},
    }
    parts = list(_parts(question, edges, cube))
    for number, part in enumerate(parts):
        params |= _params(part, f"part{number}")
    return CubeQuery(_summed(question, sums, parts), params)


def _parts(question: Question, edges: Sequence[datetime], cube: str) -> Iterator[_Part]:
    """Yield the parts for the periods, and for everything before them if it matters."""
    found = levels(edges, question.grains)
    yield from (_Part(level, level.edges[0], follower.table_of(level.grain, cube)) for level in found)
    if question.opening:
        since: datetime | str = _BEFORE_ALL
        for grain in GRAINS:
            until = cell_start(found[0].edges[0], grain)
            if since != until:
                yield _Part(Level(grain, [until]), since, follower.table_of(grain, cube))
            since = until


def _cells(question: Question, parts: Sequence[_Part], sums: Sequence[str]) -> Composed:
    """Return the union of all cells to add up, including events that are not booked yet."""
    composed = [_read(question, part, f"part{number}", sums) for number, part in enumerate(parts)]
    tail = SQL(QUERIES["tail"]).format(columns=_columns(question, sums, signed=False), cells=_all(_filters(question)))
    return SQL(" UNION ALL ").join([*composed, tail])


def _read(question: Question, part: _Part, name: str, sums: Sequence[str]) -> Composed:
    grain = part.level.grain
    cells: list[SQL | Composed] = [
        SQL("project_id = %(project_id)s"),
        SQL("cube = %(cube)s"),
        SQL("grain = {}").format(Literal(grain)),
        *_filters(question),
    ]
    signed = bool(part.level.former)
    # psycopg has no identifiers for parameters; the name is a constant of this module.
    text = QUERIES["moved" if signed else "whole"].replace("{n}", name)
    return SQL(text).format(
        columns=_columns(question, sums, signed=signed),
        table=Identifier(part.table),
        cells=_all(cells),
    )


def _params(part: _Part, name: str) -> dict[str, Any]:
    level = part.level
    return {
        f"{name}_edges": list(level.edges),
        f"{name}_former": list(level.former),
        f"{name}_since": part.since,
        f"{name}_until": level.edges[-1],
        f"{name}_beside": list(level.beside),
    }


def _filters(question: Question) -> list[Composed]:
    return [
        SQL("{} = ANY({}::text[])").format(Identifier(_COLUMNS[dimension]), SQL(f"%(only_{dimension})s"))
        for dimension in question.filters
    ]


def _all(conditions: Sequence[SQL | Composed]) -> Composed:
    return SQL(" AND ").join([SQL("true"), *conditions])


def _sums(question: Question) -> list[str]:
    """Return the columns to add up, sketches last."""
    columns = [*_COUNTED, question.order, *(MEASURES[measure] for measure in question.measures)]
    found = [column for column in dict.fromkeys(columns) if column != "sketch"]
    return [*found, "sketch"] if question.sketches else found


def _columns(question: Question, sums: Sequence[str], *, signed: bool) -> Composed:
    keys = [SQL("{} AS {}").format(_key(dimension), Identifier(dimension)) for dimension in _grouped(question)]
    return SQL(", ").join([*keys, *(_column(column, signed=signed) for column in sums)])


def _key(dimension: str) -> SQL | Identifier:
    if dimension == "hour":
        return SQL("extract(hour FROM bucket AT TIME ZONE %(timezone)s)::integer")
    return Identifier(_COLUMNS[dimension])


def _column(column: str, *, signed: bool) -> Composed:
    """Return a column's expression. Floats are exact up to 2 ** 53, and several times cheaper to add up."""
    name = Identifier(column)
    if column != "sketch":
        return SQL("({0} * sign)::float8 AS {0}" if signed else "{0}::float8 AS {0}").format(name)
    # negation of long numbers is faster than multiplication
    return SQL("CASE WHEN sign > 0 THEN {0} ELSE -{0} END AS {0}" if signed else "{0}").format(name)


def _grouped(question: Question) -> list[str]:
    return [dimension for dimension in DIMENSIONS if dimension in question.group_by]


def _summed(question: Question, sums: Sequence[str], parts: Sequence[_Part]) -> Composed:
    keys = [Identifier(dimension) for dimension in _grouped(question)]
    pieces = {
        "sums": _each("sum({0}) AS {0}", "sum({0}) AS {0}", sums),
        "sent": _each("sum({0})::bigint AS {0}", "numeric_send(sum({0})) AS {0}", sums),
        "counted": SQL(" OR ").join(SQL("sum({}) <> 0").format(Identifier(column)) for column in _COUNTED),
    }
    if not keys:
        return SQL(QUERIES["alone"]).format(parts=_cells(question, parts, sums), **pieces)
    counts = list(dict.fromkeys([*_COUNTED, question.order])) if question.sketches else sums
    return SQL(QUERIES["ranked"]).format(
        keys=SQL(", ").join(keys),
        weight=Identifier(question.order),
        named=SQL(", ").join(SQL("min({0}) AS {0}").format(key) for key in keys),
        values=_each("{0}::bigint", "numeric_send({0}) AS {0}", sums),
        counts=_each("sum({0}) AS {0}", "", counts),
        countable=_cells(question, parts, counts),
        cells=SQL("({}) AS cell").format(_cells(question, parts, sums)) if question.sketches else SQL("keyed"),
        **pieces,
    )


def _each(column: str, sketched: str, sums: Sequence[str]) -> Composed:
    """Return an expression for each column; sketches have their own."""
    # The expressions are constants of this module.
    return SQL(", ").join(SQL(sketched if name == "sketch" else column).format(Identifier(name)) for name in sums)
