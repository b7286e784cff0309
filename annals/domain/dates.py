"""How moments are written for clients (http-api.md 2)."""

from datetime import UTC, datetime


def wire_date(moment: datetime | None) -> str:
    """UTC, milliseconds, a numeric offset; empty for none."""
    if moment is None:
        return ""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def whole_seconds(milliseconds: int) -> int:
    """Rounded up, at least one second."""
    return max(1, -(-milliseconds // 1000))
