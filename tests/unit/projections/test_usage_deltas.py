"""The bookkeeping of usage, without a database."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.domain.catalogue import SPECIFICATIONS
from annals.projections.usage.changes import bucket_of, megabyte_seconds
from annals.projections.usage.series import window_of

MOMENTS = st.integers(1_577_836_800, 4_102_444_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@pytest.mark.parametrize(
    ("slug", "milliseconds", "booked"),
    [
        ("s-0.5vcpu-512mb", 1000, 256),
        ("s-1vcpu-512mb", 1500, 768),
        ("s-8vcpu-8gb", 1, 65),
        ("s-1vcpu-512mb", 1, 0),
        ("", 5000, 0),
        ("s-99vcpu-1tb", 5000, 0),
    ],
)
def test_megabyte_seconds_are_the_plain_product_cut_to_a_whole_number(
    slug: str, milliseconds: int, booked: int
) -> None:
    assert megabyte_seconds(slug, milliseconds) == booked


@given(slug=st.sampled_from(sorted(SPECIFICATIONS)), one=st.integers(0, 10**7), more=st.integers(0, 10**7))
def test_longer_runs_never_cost_less(slug: str, one: int, more: int) -> None:
    assert megabyte_seconds(slug, one + more) >= megabyte_seconds(slug, one)


@given(MOMENTS)
def test_bucket_is_the_quarter_hour_of_a_moment(moment: datetime) -> None:
    bucket = bucket_of(moment)

    assert bucket <= moment < bucket + timedelta(minutes=15)
    assert (bucket.minute % 15, bucket.second, bucket.microsecond) == (0, 0, 0)


@given(
    now=MOMENTS,
    chosen=st.sampled_from(["24h", "30d", "90d"]),
)
def test_window_ends_with_the_present_period_and_has_no_gap(now: datetime, chosen: str) -> None:
    window = window_of(chosen, now)  # type: ignore[arg-type]
    step = timedelta(hours=1) if chosen == "24h" else timedelta(days=1)

    assert len(window.periods) == int(chosen[:2])
    assert window.periods[-1] <= now < window.periods[-1] + step
    assert all(later - earlier == step for earlier, later in pairwise(window.periods))
    assert window.of(bucket_of(now)) == window.periods[-1]


def test_bucket_uses_utc_for_any_zone() -> None:
    half_past = datetime(2030, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))

    assert bucket_of(half_past.astimezone(UTC)) == datetime(2030, 1, 1, tzinfo=UTC)
