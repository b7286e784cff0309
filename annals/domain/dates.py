"""Dates as clients see them (http-api.md 2)."""

from datetime import UTC, datetime


def wire_date(moment: datetime | None) -> str:
    """Return a moment in UTC with milliseconds and a numeric offset; empty for None."""
    if moment is None:
        return ""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
