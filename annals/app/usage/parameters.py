"""Parameters of usage questions, and the exact question that they make."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from annals.app.parameters import ArrayList, Boolean, IntegerRange, OneOf, Parameters, ValidationError, optional
from annals.domain.errors import ArgumentInvalid
from annals.projections.usage.executions import ExecutionsQuery
from annals.projections.usage.question import (
    DIMENSIONS,
    FILTERS,
    INTERVALS,
    MEASURES,
    RUNNING,
    Question,
    Unanswerable,
    before,
    edges_of,
)

MOST_VALUES = 200_000
"""Most values of one answer: periods times groups."""

_UTC = ZoneInfo("UTC")


class Timestamp:
    """An RFC 3339 time; one without an offset is in UTC."""

    def parse(self, value: Any) -> datetime:
        try:
            moment = datetime.fromisoformat(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            moment = moment.astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            raise ValidationError(self.describe()) from None
        if not 2000 <= moment.year < 2200:
            raise ValidationError(self.describe())
        return moment

    def describe(self) -> str:
        return "Value must be a time such as 2026-03-01T00:00:00Z, from the year 2000 to 2199"


class Zone:
    """A name of the IANA time zone database."""

    def parse(self, value: Any) -> ZoneInfo:
        try:
            return ZoneInfo(value)
        except (TypeError, ValueError, OSError, ZoneInfoNotFoundError):
            raise ValidationError(self.describe()) from None

    def describe(self) -> str:
        return "Value must be the name of a time zone, such as Europe/Berlin"


class Filter:
    """`dimension:value`; values of one dimension are alternatives. An empty value selects calls without one."""

    def __init__(self, dimensions: tuple[str, ...]) -> None:
        self.dimensions = dimensions

    def parse(self, value: Any) -> tuple[str, str]:
        dimension, colon, wanted = value.partition(":") if isinstance(value, str) else ("", "", "")
        if not colon or dimension not in self.dimensions or len(wanted) > 100 or "\0" in wanted:
            raise ValidationError(self.describe())
        return dimension, wanted

    def describe(self) -> str:
        return f"Value must be a filter such as trigger:http; dimensions are {', '.join(self.dimensions)}"


_RANGE: dict[str, Any] = {
    "from": optional(Timestamp()),
    "to": optional(Timestamp()),
    "timezone": optional(Zone(), _UTC),
}

ASK = Parameters(
    **_RANGE,
    interval=optional(OneOf(INTERVALS)),
    groupBy=optional(ArrayList(OneOf(DIMENSIONS), 4), []),
    measures=optional(ArrayList(OneOf(tuple(MEASURES)), len(MEASURES)), ["count"]),
    filters=optional(ArrayList(Filter(FILTERS), 50), []),
    top=optional(IntegerRange(1, 100), 10),
    compare=optional(Boolean(loose=True), False),
    format=optional(OneOf(("json", "csv"))),
)

EXECUTIONS = Parameters(
    **_RANGE,
    filters=optional(ArrayList(Filter(DIMENSIONS), 50), []),
    cursor=optional(IntegerRange(0, 2**62), 0),
    limit=optional(IntegerRange(1, 1000), 25),
)


def question(
    project_id: str, values: Mapping[str, Any], *, now: datetime, minute_days: int, present: datetime | None = None
) -> Question:
    """Return the question of some parameters. Minutes are kept for `minute_days` before `present`; 0: for good.

    `now` is the end of the default range: the present, or a moment of the past. Raises ArgumentInvalid.
    """
    start, end = _range(values, now)
    zone, measures = values["timezone"], list(dict.fromkeys(values["measures"])) or ["count"]
    interval = values["interval"] or ("hour" if end - start <= timedelta(days=3) else "day")
    group_by = list(dict.fromkeys(values["groupBy"]))
    levels = [measure for measure in measures if measure in RUNNING]
    if levels and (interval == "minute" or "hour" in group_by):
        raise ArgumentInvalid(
            f"`{levels[0]}` has values for a quarter of an hour or longer, and not for an hour of day."
        )
    if interval == "minute" and minute_days and start < (present or now) - timedelta(days=minute_days):
        raise ArgumentInvalid(f"Minutes are kept for {minute_days} days; choose a later `from` or a longer interval.")
    try:
        edges = edges_of(start, end, interval, zone)
        periods = len(edges) - 1
        if group_by and periods * values["top"] > MOST_VALUES:
            raise Unanswerable(f"More than {MOST_VALUES:,} values: choose a longer interval or a smaller `top`.")
        former = before(edges, interval, zone) if values["compare"] else []
    except (Unanswerable, OverflowError) as error:
        raise ArgumentInvalid(str(error)) from None
    return Question(
        project_id=project_id,
        interval=interval,
        zone=zone,
        edges=[*former, *edges],
        compared=len(former),
        group_by=group_by,
        measures=measures,
        filters=_filters(values),
        top=values["top"],
    )


def executions_query(
    project_id: str, values: Mapping[str, Any], *, now: datetime, since: int, last: int | None = None
) -> ExecutionsQuery:
    """Return the query for executions from the position `since`, and up to `last`. Raises ArgumentInvalid."""
    start, end = _range(values, now)
    if end <= start:
        raise ArgumentInvalid("`from` must lie before `to`.")
    return ExecutionsQuery(
        project_id=project_id,
        start=start,
        end=end,
        zone=values["timezone"],
        filters=_filters(values),
        since=since,
        last=last,
    )


def _range(values: Mapping[str, Any], now: datetime) -> tuple[datetime, datetime]:
    """Return the start and the end; by default the last day."""
    end = values["to"] or now
    return values["from"] or end - timedelta(days=1), end


def _filters(values: Mapping[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for dimension, word in values["filters"]:
        found.setdefault(dimension, []).append(word)
    return found
