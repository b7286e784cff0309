"""A question about usage, made exact: its periods, and the cube and grain that answer it with the fewest rows."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from annals.projections.usage.cells import CALLS

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
"""The word for a measure and the cube's column; times in milliseconds, sizes in bytes."""

RUNNING = ("storage", "buildStorage")
"""Levels, not flows: what is there at the end of a period."""

PERIODS = 10_000
_CUBES = (
    ("total", frozenset[str]()),
    ("size", frozenset({"specification"})),
    ("outcome", frozenset({"trigger", "status", "reason"})),
    ("place", frozenset({"function", "deployment"})),
    (CALLS, frozenset({"function", "trigger"})),
)
_GRAINS = {"minute": 1, "quarter": 15, "hour": 60}


class Unanswerable(ValueError):
    """A question that has no answer; the message says why."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """`start` and `end` have been moved outwards to whole periods; `edges` begin every period and end the last one.

    With `compare`, as many periods as were asked for lie before them: `edges` and `start` include those.
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
        """Whether what came before matters."""
        return any(measure in RUNNING for measure in self.measures)

    @property
    def sketches(self) -> bool:
        return any(MEASURES[measure] == "sketch" for measure in self.measures)

    @property
    def order(self) -> str:
        """The column by which groups are ranked: of the first measure that adds up."""
        return next((MEASURES[m] for m in self.measures if MEASURES[m] != "sketch"), "executions")

    def cube(self, *, calls: bool) -> str:
        """The smallest cube that knows what it takes; `calls` says whether there is the one of calls."""
        if self.interval == "minute":
            return "all"
        needed = {*self.group_by, *self.filters} - {"hour"}
        return next((cube for cube, known in _CUBES if needed <= known and (calls or cube != CALLS)), "all")

    @property
    def grains(self) -> Sequence[int]:
        """The stretches of minutes that answers may be made of: of no hours where hours of the day lie across them."""
        if self.interval == "minute":
            return (1,)
        if "hour" in self.group_by:
            return (15,) if self._has_odd_hours() else (60, 15)
        return (1440, 60, 15)

    def _has_odd_hours(self) -> bool:
        """Whether an hour of the zone ever begins within one of UTC."""
        looks = (self.start + timedelta(days=days) for days in range(0, (self.end - self.start).days + 31, 30))
        return any((look.astimezone(self.zone).utcoffset() or timedelta()) % timedelta(hours=1) for look in looks)


_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def edges_of(start: datetime, end: datetime, interval: str, zone: ZoneInfo) -> list[datetime]:
    """The edges, in UTC, of the periods that hold the range. Raises Unanswerable for none, or too many."""
    if end <= start:
        raise Unanswerable("`from` must lie before `to`.")
    if interval == "total":
        return [_floor(start, "quarter", zone), _ceiling(end, zone)]
    edges = [_floor(start, interval, zone)]
    while edges[-1] < end:
        if len(edges) > PERIODS:
            raise Unanswerable(f"More than {PERIODS:,} periods: choose a longer interval or a shorter range.")
        edges.append(_following(edges[-1], interval, zone))
    return edges


def before(edges: Sequence[datetime], interval: str, zone: ZoneInfo) -> list[datetime]:
    """The edges of as many periods that lie just before, without the edge where they meet."""
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
    if interval in _GRAINS:
        # Clocks of every zone differ by whole quarters of an hour: short periods need no calendar, only the shift.
        shift = moment.astimezone(zone).utcoffset() or timedelta()
        return moment.astimezone(UTC) - (moment + shift - _EPOCH) % timedelta(minutes=_GRAINS[interval])
    day = moment.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if interval == "week":
        day -= timedelta(days=day.weekday())
    elif interval == "month":
        day = day.replace(day=1)
    return day.astimezone(UTC)


def _following(edge: datetime, interval: str, zone: ZoneInfo) -> datetime:
    if interval in _GRAINS:
        return _floor(edge + timedelta(minutes=_GRAINS[interval]), interval, zone)
    # A day is 23 to 25 hours long where clocks change: noon of the next day is certainly within it.
    day = edge.astimezone(zone)
    days = {"day": 1, "week": 7, "month": 32}[interval]
    return _floor((day + timedelta(days=days)).replace(hour=12).astimezone(UTC), interval, zone)
