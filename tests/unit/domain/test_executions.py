"""Executions: one claim at a time, exactly one end."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.domain.commands.executions import lose_execution
from annals.domain.errors import ExecutionAlreadyEnded, ExecutionInProgress, ExecutionNotFound
from annals.domain.execution import Header
from annals.domain.invocation import STORED_OUTPUT_CHARACTERS, merged_headers, stored_headers, succeeded, truncated
from annals.domain.ports import Outcome
from tests.unit.domain.given import RAN, given_execution, requested


def test_synchronous_call_is_claimed_when_it_is_accepted() -> None:
    execution = given_execution("processing")
    assert (execution.status, execution.epoch) == ("processing", 1)
    assert execution.claim("worker") is False


def test_scheduled_execution_waits_for_its_time() -> None:
    execution = requested(trigger="schedule", scheduled_at=datetime(2030, 1, 1, tzinfo=UTC))
    assert execution.status == "scheduled"
    assert execution.claim("w") is True


def test_only_the_current_claim_records_an_outcome() -> None:
    execution = given_execution()
    execution.claim("w1")
    assert execution.complete(0, status_code=200, headers=[], ran=RAN) is False
    assert execution.complete(1, status_code=200, headers=[], ran=RAN) is True
    assert execution.fail(1, "timeout", "late", now=datetime.now(UTC), status_code=500) is False


def test_late_outcome_of_a_lost_worker_is_rejected() -> None:
    execution = given_execution()
    execution.claim("w1")
    lose_execution(execution, epoch=1, now=datetime.now(UTC))
    assert execution.status == "failed"
    assert execution.complete(1, status_code=200, headers=[], ran=RAN) is False


def test_ended_execution_cannot_be_canceled() -> None:
    execution = given_execution()
    execution.cancel()
    assert execution.status == "failed"
    with pytest.raises(ExecutionAlreadyEnded):
        execution.cancel()


def test_execution_of_a_deleted_function_ends_without_output() -> None:
    execution = given_execution()
    execution.claim("w1")
    execution.abandon(execution.function_incarnation + 1)
    assert not execution.ended
    execution.abandon(execution.function_incarnation)
    execution.abandon(execution.function_incarnation)
    assert [type(event).__name__ for event in execution.collect_events()][1:] == ["Canceled"]
    assert execution.keep_output(1) is False


def test_execution_in_progress_is_deleted_only_if_stale() -> None:
    execution = given_execution()
    with pytest.raises(ExecutionInProgress):
        execution.delete()
    execution.delete(stale=True)
    assert execution.deleted


def test_execution_of_another_function_is_not_found() -> None:
    with pytest.raises(ExecutionNotFound):
        given_execution().require_function("other", 1)


def test_platform_headers_override_caller_headers() -> None:
    headers = dict(merged_headers({"X-Appwrite-Key": "mine", "X-Custom": "v"}, {"x-appwrite-key": "theirs"}))
    assert headers == {"x-appwrite-key": "theirs", "x-custom": "v"}


def test_only_named_headers_are_stored() -> None:
    assert stored_headers([("Content-Type", "a"), ("x", "b")], ("content-type",)) == [Header("Content-Type", "a")]


@pytest.mark.parametrize(
    ("status", "reason", "good"), [(200, "", True), (499, "", True), (500, "", False), (200, "timeout", False)]
)
def test_answer_below_500_completes(status: int, reason: str, good: bool) -> None:
    assert succeeded(Outcome(status_code=status, reason=reason)) is good  # type: ignore[arg-type]


@given(st.integers(STORED_OUTPUT_CHARACTERS - 5, STORED_OUTPUT_CHARACTERS + 5_000))
def test_long_output_keeps_its_end_within_the_limit(length: int) -> None:
    text = "a" * (length - 3) + "end"
    stored = truncated(text, "Logs")
    assert len(stored) <= STORED_OUTPUT_CHARACTERS
    assert stored.endswith("end")
    assert stored.startswith("[WARNING] Logs truncated") == (length > STORED_OUTPUT_CHARACTERS)
