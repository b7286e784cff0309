"""Periods from days, hours and quarters: every moment counts once, in its own period, and few rows are read."""

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from annals.projections.usage.question import Level, edges_of, levels

END = datetime(2026, 4, 20, tzinfo=UTC)  # clocks in Europe and America changed in the weeks before


def counted(found: Sequence[Level], moment: datetime) -> Counter[int]:
    """Return how often a moment counts in each period, as the statement reads it."""
    times: Counter[int] = Counter()
    for level in found:
        cell = moment - (moment - datetime(2000, 1, 1, tzinfo=UTC)) % timedelta(minutes=level.grain)
        if not level.former:
            times[bisect_right(level.edges, cell)] += level.edges[0] <= cell < level.edges[-1]
        elif cell in level.beside:
            times[bisect_right(level.edges, cell)] += 1
            times[bisect_right(level.former, cell)] -= 1
    return times


@pytest.mark.parametrize("interval", ["quarter", "hour", "day", "week", "month", "total"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Kathmandu", "Pacific/Apia"])
def test_every_moment_counts_once_in_its_period(zone: str, interval: str) -> None:
    chance = random.Random(f"{zone}{interval}")
    start = END - timedelta(days=3 if interval in {"quarter", "hour"} else 70, minutes=chance.randrange(10_000))
    edges = edges_of(start, END, interval, ZoneInfo(zone))
    found = levels(edges)

    around = [edge + timedelta(minutes=15 * shift) for edge in edges[:: len(edges) // 20 + 1] for shift in range(-1, 2)]
    span = int((edges[-1] - edges[0]) / timedelta(minutes=1))
    for moment in [*around, *(edges[0] + timedelta(minutes=chance.randrange(-2000, span + 2000)) for _ in range(300))]:
        period = bisect_right(edges, moment)
        within = {p: n for p, n in counted(found, moment).items() if n and 1 <= p < len(edges)}
        assert within == ({period: 1} if 1 <= period < len(edges) else {}), moment


def rows(found: Sequence[Level]) -> int:
    whole = found[0]
    read = (whole.edges[-1] - whole.edges[0]) // timedelta(minutes=whole.grain)
    return read + sum(len(level.beside) for level in found[1:])


@pytest.mark.parametrize(("zone", "most"), [("UTC", 90), ("Europe/Berlin", 300), ("Asia/Kolkata", 900)])
def test_ninety_days_of_any_zone_are_read_from_days_and_a_few_hours(zone: str, most: int) -> None:
    edges = edges_of(END - timedelta(days=90) + timedelta(hours=12), END, "day", ZoneInfo(zone))

    assert rows(levels(edges)) <= most


def test_months_of_another_zone_are_read_from_days() -> None:
    edges = edges_of(datetime(2025, 5, 15, tzinfo=UTC), END, "month", ZoneInfo("America/New_York"))

    assert rows(levels(edges)) < 366 + 13 * 6
    assert [level.grain for level in levels(edges)] == [1440, 60]
