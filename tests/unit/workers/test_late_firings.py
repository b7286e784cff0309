"""The firings of a schedule that count as late."""

from datetime import UTC, datetime, timedelta

from annals.workers.schedules import LATE, is_late

SLOT = datetime(2026, 1, 1, tzinfo=UTC)


def test_firing_soon_after_its_slot_is_in_time() -> None:
    assert not is_late(SLOT, SLOT + timedelta(seconds=2))
    assert not is_late(SLOT, SLOT + LATE)


def test_delayed_firing_is_late() -> None:
    assert is_late(SLOT, SLOT + LATE + timedelta(seconds=1))
    assert is_late(SLOT, SLOT + timedelta(days=9))
