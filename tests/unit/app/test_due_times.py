"""The due time of an execution: every edge case of `scheduledAt`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from annals.app.executions.parameters import judge
from annals.domain.errors import BadRequest

NOW = datetime(2028, 2, 28, 23, 58, 30, tzinfo=UTC)


def due(text: str, now: datetime = NOW) -> datetime | None:
    values: dict[str, Any] = {"scheduledAt": text, "async": True, "headers": {}}
    return judge(values, now)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2028-02-29T00:00:00Z", datetime(2028, 2, 29, tzinfo=UTC)),
        ("2028-02-29T00:00:00.000+00:00", datetime(2028, 2, 29, tzinfo=UTC)),
        ("2028-02-29 00:00", datetime(2028, 2, 29, tzinfo=UTC)),
        ("2028-02-29", datetime(2028, 2, 29, tzinfo=UTC)),
        ("2028-02-29T14:00:00+14:00", datetime(2028, 2, 29, tzinfo=UTC)),
        ("2028-02-28T12:00:00-12:00", datetime(2028, 2, 29, tzinfo=UTC)),
        ("2028-02-29T05:30:00+05:30", datetime(2028, 2, 29, tzinfo=UTC)),
        ("2028-03-26T02:30:00+01:00", datetime(2028, 3, 26, 1, 30, tzinfo=UTC)),
        ("2028-03-26T02:30:00+02:00", datetime(2028, 3, 26, 0, 30, tzinfo=UTC)),
        ("2028-10-29T02:30:00+02:00", datetime(2028, 10, 29, 0, 30, tzinfo=UTC)),
        ("2028-10-29T02:30:00+01:00", datetime(2028, 10, 29, 1, 30, tzinfo=UTC)),
        ("2028-02-29T00:00:30+00:00:30", datetime(2028, 2, 29, tzinfo=UTC)),
        ("9999-12-31T23:59:00Z", datetime(9999, 12, 31, 23, 59, tzinfo=UTC)),
    ],
)
def test_time_with_an_offset_is_converted_to_utc(text: str, wanted: datetime) -> None:
    assert due(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2028-02-28T23:58:30Z",
        "2028-02-28T23:58:00Z",
        "1999-12-31T23:59:00Z",
        "2028-02-28T23:59:00Z",
        "2028-02-29T00:00:01Z",
        "2028-02-29T00:00:00.001Z",
        "2028-02-29T00:00:00.000001Z",
        "2027-02-29T00:00:00Z",
        "2028-02-30T00:00:00Z",
        "2028-02-29T24:01:00Z",
        "2028-02-29T23:59:60Z",
        "2028-02-29T00:00:00+25:00",
        "9999-12-31T23:59:00-01:00",
        "10000-01-01T00:00:00Z",
        "-2028-02-29T00:00:00Z",
        "1835395200",
    ],
)
def test_invalid_or_past_times_are_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="scheduledAt"):
        due(text)


def test_time_must_be_more_than_a_minute_ahead() -> None:
    at = datetime(2028, 2, 29, 0, 0, tzinfo=UTC)
    text = "2028-02-29T00:00:00Z"

    with pytest.raises(BadRequest):
        due(text, at - timedelta(seconds=60))
    assert due(text, at - timedelta(seconds=60, microseconds=1)) == at


def test_scheduled_time_needs_an_asynchronous_call() -> None:
    with pytest.raises(BadRequest, match="asynchronous"):
        judge({"scheduledAt": "2028-02-29T00:00:00Z", "async": False, "headers": {}}, NOW)
