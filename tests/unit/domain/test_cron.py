"""Cron expressions (http-api.md 10.5)."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.domain.cron import is_cron, next_time, previous_time

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "expression",
    [
        *("* * * * *", "*/5 * * * *", "0 0 1 1 *", "0 0 1,15 * MON-FRI", "0 0 ? * 7", "0 0 L * *", "0 0 15W * *"),
        *("0 0 * * MON#2", "0 0 * JAN sun", "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight"),
        *("@hourly", "0 0 29 2 *", "0 0 * 2 MON#5", "1-59/2 0-23 * * *"),
    ],
)
def test_expressions_of_the_contract_pass(expression: str) -> None:
    assert is_cron(expression)


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "",
            "not a cron",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * * 8",
        ),
        *("*/0 * * * *", "@reboot", "@every 1h", "@Daily", "0 0 31 2 *", "0 0 30 FEB ?", "0 0 31 4,6 *", "H * * * *"),
        *("R * * * *", "٣ * * * *", "* * * * MON#6", "* * * * MON#", "1,,2 * * * *", "5/ * * * *", "1 " * 2000),
    ],
)
def test_other_expressions_are_refused(expression: str) -> None:
    assert not is_cron(expression)


def test_next_and_previous_time_exclude_the_given_time() -> None:
    assert next_time("0 0 * * *", NEW_YEAR) == datetime(2026, 1, 2, tzinfo=UTC)
    assert previous_time("0 0 * * *", NEW_YEAR) == datetime(2025, 12, 31, tzinfo=UTC)
    assert next_time("0 0 * * MON#2", NEW_YEAR) == datetime(2026, 1, 12, tzinfo=UTC)


FIELD = st.text("0123456789*/,-?LW#", min_size=1, max_size=6)


@given(expression=st.lists(FIELD, min_size=5, max_size=5).map(" ".join) | st.text(max_size=30))
def test_accepted_expression_has_a_next_time(expression: str) -> None:
    if is_cron(expression):
        assert next_time(expression, NEW_YEAR) > NEW_YEAR
