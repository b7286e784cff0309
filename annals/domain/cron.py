"""Cron expressions of functions, with five fields: their syntax, and their next and previous times (UTC)."""

import re
from datetime import UTC, datetime

from croniter import CroniterError, croniter

MACROS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
_MOST_CHARACTERS = 1000
_YEARS_AHEAD = 50
"""A fifth Monday in February may be 40 years away. An expression without a time in these years has none."""

_NAMES = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC|SUN|MON|TUE|WED|THU|FRI|SAT|L|W"
_FIELD = re.compile(rf"(?:[0-9*,/?#-]|{_NAMES})+", re.ASCII | re.IGNORECASE)
_ANY_TIME = datetime(2024, 1, 1, tzinfo=UTC)


def is_cron(expression: str) -> bool:
    """Return True if the expression is well formed and has a next time."""
    if not _well_formed(expression):
        return False
    try:
        croniter(expression, _ANY_TIME, max_years_between_matches=_YEARS_AHEAD).get_next(datetime)
    except (CroniterError, ValueError, KeyError, OverflowError):
        return False
    return True


def next_time(expression: str, after: datetime) -> datetime:
    """Return the first time after `after`. The expression must satisfy `is_cron`."""
    time: datetime = croniter(expression, after, max_years_between_matches=_YEARS_AHEAD).get_next(datetime)
    return time


def previous_time(expression: str, before: datetime) -> datetime:
    """Return the last time before `before`. The expression must satisfy `is_cron`."""
    time: datetime = croniter(expression, before, max_years_between_matches=_YEARS_AHEAD).get_prev(datetime)
    return time


def _well_formed(expression: str) -> bool:
    """Reject syntax that only croniter has: seconds, hashed and random fields, digits of other scripts."""
    if len(expression) > _MOST_CHARACTERS:
        return False
    if expression.startswith("@"):
        return expression in MACROS
    fields = expression.split()
    return len(fields) == 5 and all(_FIELD.fullmatch(field) for field in fields)
