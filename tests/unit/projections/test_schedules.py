"""The next slot of a schedule, without a database."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from annals.projections.schedules import Schedule

MOMENTS = st.integers(1_577_836_800, 4_102_444_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
EXPRESSIONS = st.sampled_from(["* * * * *", "*/7 3 * * *", "0 0 1 * *", "@hourly", "30 4 * * MON"])
NOW = datetime(2030, 5, 5, 12, 30, tzinfo=UTC)


def schedule(expression: str = "0 * * * *") -> Schedule:
    return Schedule(
        stream_id="function:p:f", project_id="p", function_id="f", function_sequence=1, schedule=expression
    )  # fmt: skip


@given(expression=EXPRESSIONS, now=MOMENTS)
def test_next_slot_is_future_and_fired_slot_is_past(expression: str, now: datetime) -> None:
    running = schedule(expression).rescheduled(now, schedule=expression, deployment_id="d")
    assert running.schedule_next is not None
    assert running.schedule_next > now

    fired = running.fired(running.schedule_next)

    assert fired.schedule_previous == running.schedule_next
    assert fired.schedule_next is not None
    assert fired.schedule_next > running.schedule_next


def test_missed_slots_are_past_after_the_next_firing() -> None:
    running = schedule().rescheduled(NOW, schedule="0 * * * *", deployment_id="d")

    late = running.fired(NOW + timedelta(hours=5))

    assert late.schedule_previous == datetime(2030, 5, 5, 17, tzinfo=UTC)
    assert late.schedule_next == datetime(2030, 5, 5, 18, tzinfo=UTC)


def test_firing_of_a_stopped_schedule_changes_nothing() -> None:
    resting = schedule().rescheduled(NOW, schedule="0 * * * *", deployment_id="")

    assert resting.fired(NOW) == resting


def test_restarted_schedule_counts_from_the_restart() -> None:
    running = schedule().rescheduled(NOW, schedule="0 * * * *", deployment_id="d")
    off = running.rescheduled(NOW, schedule="0 * * * *", deployment_id="")
    later = NOW + timedelta(days=1)

    on = off.rescheduled(later, schedule="0 * * * *", deployment_id="d2")

    assert off.schedule_next is None
    assert on.schedule_next == datetime(2030, 5, 6, 13, tzinfo=UTC)


def test_due_slot_of_both_expressions_stays_due() -> None:
    running = schedule().rescheduled(NOW, schedule="0 * * * *", deployment_id="d")
    slot = datetime(2030, 5, 5, 13, tzinfo=UTC)
    just_after = slot + timedelta(milliseconds=200)

    assert running.rescheduled(just_after, schedule="*/30 * * * *", deployment_id="d").schedule_next == slot
    other = running.rescheduled(just_after, schedule="15 * * * *", deployment_id="d")
    assert other.schedule_next == slot + timedelta(minutes=15)
    fired = running.fired(slot).rescheduled(just_after, schedule="*/30 * * * *", deployment_id="d")
    assert fired.schedule_next == slot + timedelta(minutes=30)
