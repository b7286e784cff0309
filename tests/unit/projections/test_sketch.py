"""Sketches of durations: the accuracy of percentiles, and merging by addition."""

import math
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import PyFormat, Transformer

from annals.projections.usage.sketch import ACCURACY, LAST, bin_of, percentiles, read, value_of, write

DURATIONS = st.lists(st.integers(0, 900_000), max_size=60)
BINS = st.dictionaries(st.integers(0, LAST), st.integers(1, 10**11), max_size=20)


def counts(durations: list[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for duration in durations:
        found[bin_of(duration)] = found.get(bin_of(duration), 0) + 1
    return dict(sorted(found.items()))


def sent(sketch: str) -> bytes:
    """Return a sketch in the format of the server."""
    number = Decimal(sketch)
    return bytes(Transformer().get_dumper(number, PyFormat.BINARY).dump(number) or b"")


@given(BINS)
def test_written_sketch_can_be_read(bins: dict[int, int]) -> None:
    lowest, counts = read(sent(write(bins)))

    assert {lowest + number: count for number, count in enumerate(counts) if count} == bins


@given(one=DURATIONS, other=DURATIONS)
def test_sum_of_two_sketches_covers_both(one: list[int], other: list[int]) -> None:
    assert int(write(counts(one))) + int(write(counts(other))) == int(write(counts(one + other)))


@given(st.integers(1, 2_000_000))
def test_duration_is_near_the_value_of_its_bin(duration: int) -> None:
    assert abs(value_of(bin_of(duration)) - duration) <= ACCURACY * duration


@given(durations=DURATIONS.filter(bool), share=st.sampled_from([0.5, 0.95, 0.99]))
def test_percentile_is_near_the_exact_one(durations: list[int], share: float) -> None:
    exact = sorted(durations)[math.ceil(share * len(durations)) - 1]

    (found,) = percentiles(sent(write(counts(durations))), [share])

    assert found is not None
    assert abs(found - exact) <= ACCURACY * exact


@given(
    bins=st.dictionaries(st.integers(0, LAST), st.integers(1, 70_000), max_size=20), scale=st.sampled_from([1, 10_000])
)
def test_few_calls_are_read_alike_and_faster(bins: dict[int, int], scale: int) -> None:
    bins = {number: count * scale for number, count in bins.items()}
    stored, shares, calls = sent(write(bins)), [0.01, 0.5, 0.95, 0.99], sum(bins.values())

    assert percentiles(stored, shares, calls) == percentiles(stored, shares)


@given(durations=DURATIONS, more=st.integers(0, 100))
def test_very_few_calls_are_read_alike(durations: list[int], more: int) -> None:
    stored, shares = sent(write(counts(durations))), [0.01, 0.5, 0.95, 0.99]

    assert percentiles(stored, shares, len(durations) + more) == percentiles(stored, shares)


def test_percentile_without_calls_is_missing() -> None:
    assert percentiles(sent("0"), [0.5, 0.99]) == [None, None]


def test_last_bin_counts_all_longer_durations() -> None:
    assert bin_of(10**12) == LAST
    assert len(write({LAST: 10**11})) < 4300  # Python's limit of digits for a conversion to int
