"""Failed runs: the time of the next attempt, and dead letters."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.domain.commands.executions import discard_execution, lose_execution, redrive_execution
from annals.domain.errors import DeadLetterNotFound, ExecutionNotFound, FunctionNotFound
from annals.domain.execution import CallRequest, Execution
from annals.domain.policy import LONGEST_BACKOFF_SECONDS, Policy, Retries, policy_from
from tests.unit.domain.given import RAN, given_execution

SOON = datetime(2100, 1, 1, tzinfo=UTC)
LONG = 200 * 365 * 86_400


def attempt(execution: Execution, reason: Any = "timeout", *, now: datetime = SOON) -> Any:
    """Claim and fail; return the recorded events."""
    assert execution.claim("w")
    execution.collect_events()
    assert execution.fail(execution.epoch, reason, "Late.", now=now, status_code=500, ran=RAN)
    [event] = execution.collect_events()
    return event


def dead() -> Execution:
    execution = given_execution(retries=Retries(attempts=2, max_age_seconds=LONG))
    attempt(execution)
    attempt(execution)
    assert execution.dead
    return execution


def test_without_retries_the_first_failure_is_the_end() -> None:
    execution = given_execution(retries=None)
    assert isinstance(attempt(execution), Execution.Failed)
    assert (execution.status, execution.dead) == ("failed", False)


def test_failed_attempts_are_retried_up_to_the_limit() -> None:
    execution = given_execution(retries=Retries(attempts=3, backoff_seconds=10, max_age_seconds=LONG))

    first, second, third = (attempt(execution) for _ in range(3))

    assert isinstance(first, Execution.RetryScheduled)
    assert isinstance(second, Execution.RetryScheduled)
    assert SOON + timedelta(seconds=5) <= first.due_at <= SOON + timedelta(seconds=10)
    assert SOON + timedelta(seconds=10) <= second.due_at <= SOON + timedelta(seconds=20)
    assert isinstance(third, Execution.DeadLettered)
    assert (third.reason, third.cause) == ("dead_lettered", "timeout")
    assert third.message == "Given up after 3 of 3 attempts, the last one with timeout. Late."
    assert (execution.status, execution.ended, execution.claim("w")) == ("failed", True, False)


def test_reason_without_retries_ends_the_execution() -> None:
    execution = given_execution(retries=Retries(attempts=5, on=["worker_lost"], max_age_seconds=LONG))
    assert type(attempt(execution, "error")) is Execution.Failed
    assert not execution.dead


def test_no_attempt_starts_after_the_maximum_age() -> None:
    execution = given_execution(retries=Retries(attempts=9, max_age_seconds=60))
    only = attempt(execution, now=SOON)
    assert isinstance(only, Execution.DeadLettered)
    assert only.message == "Given up after 1 of 9 attempts within 60 seconds, the last one with timeout. Late."


def test_age_of_a_scheduled_call_counts_from_its_time() -> None:
    execution = given_execution(retries=Retries(attempts=9, max_age_seconds=60), scheduled_at=SOON)
    assert isinstance(attempt(execution, now=SOON), Execution.RetryScheduled)


def test_lost_worker_uses_an_attempt_and_its_late_outcome_is_rejected() -> None:
    execution = given_execution(retries=Retries(attempts=2, max_age_seconds=LONG))
    execution.claim("w1")
    lose_execution(execution, epoch=1, now=SOON)
    assert (execution.status, execution.due_at is not None) == ("waiting", True)
    assert execution.complete(1, status_code=200, headers=[], ran=RAN) is False

    execution.claim("w2")

    assert (execution.epoch, execution.due_at) == (2, None)
    assert execution.complete(1, status_code=200, headers=[], ran=RAN) is False
    assert execution.complete(2, status_code=200, headers=[], ran=RAN) is True


def test_call_that_waits_for_an_attempt_can_be_canceled() -> None:
    execution = given_execution(retries=Retries(attempts=2, max_age_seconds=LONG))
    attempt(execution)
    execution.cancel()
    assert (execution.status, execution.due_at, execution.claim("w")) == ("failed", None, False)


def test_dead_letter_is_redriven_once_as_an_execution_of_its_own() -> None:
    letter = dead()
    fields: dict[str, Any] = {
        "function_version": 4,
        "deployment_id": "d2",
        "request": CallRequest(method="GET", path="/x"),
        "retries": None,
    }

    changed = redrive_execution(letter, None, function_id="f", incarnation=1, execution_id="e2", **fields)

    again = changed[1]
    assert isinstance(again, Execution)
    assert (again.execution_id, again.status, again.redrives, again.trigger) == ("e2", "waiting", "e", "http")
    assert (letter.status, letter.dead) == ("failed", False)
    with pytest.raises(DeadLetterNotFound):
        redrive_execution(letter, None, function_id="f", incarnation=1, execution_id="e3", **fields)


def test_discarded_execution_is_no_dead_letter() -> None:
    letter = dead()
    discard_execution(letter, function_id="f", incarnation=1)
    with pytest.raises(DeadLetterNotFound):
        discard_execution(letter, function_id="f", incarnation=1)


def test_only_dead_letters_of_the_same_function_are_found() -> None:
    with pytest.raises(ExecutionNotFound):
        discard_execution(dead(), function_id="g", incarnation=1)
    with pytest.raises(FunctionNotFound):
        discard_execution(dead(), function_id="f", incarnation=2)
    ended = given_execution(retries=None)
    attempt(ended)
    with pytest.raises(DeadLetterNotFound):
        discard_execution(ended, function_id="f", incarnation=1)


@given(number=st.integers(1, 50), backoff=st.integers(1, 3600), name=st.text(max_size=20))
def test_pauses_double_up_to_an_hour_and_are_deterministic(number: int, backoff: int, name: str) -> None:
    retries = Retries(attempts=60, backoff_seconds=backoff)
    longest = min(backoff * 2 ** (number - 1), LONGEST_BACKOFF_SECONDS)
    pause = retries.pause_seconds(number, name=name)
    assert longest / 2 <= pause <= longest
    assert pause == retries.pause_seconds(number, name=name)


def test_pauses_of_calls_that_failed_together_differ() -> None:
    retries = Retries(attempts=2, backoff_seconds=60)
    assert len({retries.pause_seconds(1, name=f"e{n}") for n in range(50)}) > 45


def test_function_without_a_policy_has_the_default_one() -> None:
    assert policy_from({}) == policy_from(None) == Policy()
    assert Policy().retries_of_calls is None
