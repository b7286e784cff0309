"""The events and contents that an outcome records."""

from datetime import UTC, datetime
from typing import Any

import pytest

from annals.application.executions.record_outcome import decide
from annals.domain.execution import CallRequest, CompleteOutput, Execution, Header, RunRecord
from annals.domain.policy import Retries
from annals.domain.ports import UNANSWERED_STATUS, CompleteLog, Outcome
from annals.store.content.contents import digest
from tests.unit.domain.given import given_execution

RAN = RunRecord(deployment_id="d", function_version=1, environment_digest="e", specification="s-1vcpu-512mb")


def claimed() -> Execution:
    return given_execution("processing", execution_id="x", request=CallRequest(method="GET", path="/"))


def decided(outcome: Outcome, *, epoch: int = 1, logging: bool = True) -> tuple[list[Any], list[Any]]:
    execution = claimed()
    contents = decide(execution, epoch, outcome, RAN, logging=logging, now=datetime.now(UTC))
    return list(execution.collect_events()), contents


def test_answer_below_500_completes_with_the_headers_that_are_kept() -> None:
    outcome = Outcome(
        status_code=404, headers=[("content-type", "text/plain"), ("set-cookie", "s=1")], logs="hi", errors="oh"
    )

    [event], contents = decided(outcome)

    assert isinstance(event, Execution.Completed)
    assert event.status_code == 404
    assert event.headers == [Header("content-type", "text/plain")]
    assert (event.logs_size, event.logs_digest) == (2, digest(b"hi"))
    assert [(c.kind, c.data) for c in contents] == [("logs", b"hi"), ("errors", b"oh")]


def test_answer_of_500_is_the_codes_own_error() -> None:
    [event], _ = decided(Outcome(status_code=503))

    assert isinstance(event, Execution.Failed)
    assert (event.reason, event.status_code) == ("error", 503)


def test_run_without_an_answer_fails_with_its_reason_and_its_output_so_far() -> None:
    outcome = Outcome(
        status_code=UNANSWERED_STATUS, reason="out_of_memory", message="It used more than 512 MiB.", logs="so far"
    )

    [event], contents = decided(outcome)

    assert isinstance(event, Execution.Failed)
    assert (event.reason, event.message, event.status_code) == ("out_of_memory", "It used more than 512 MiB.", 500)
    assert [c.data for c in contents] == [b"so far"]


def test_event_names_the_content_with_the_whole_log() -> None:
    whole = CompleteLog(kind="logs", key="contents/p/b", digest="d" * 64, size=2_000_000)

    [event], contents = decided(Outcome(status_code=200, logs="the end", whole=[whole]))

    assert event.whole == [CompleteOutput(kind="logs", digest="d" * 64, size=2_000_000)]
    assert [(c.kind, c.digest, c.size) for c in contents] == [
        ("logs", digest(b"the end"), 7),
        ("whole_logs", "d" * 64, 2_000_000),
    ]


def test_function_without_logging_keeps_no_output() -> None:
    [event], contents = decided(Outcome(status_code=200, logs="hi", errors="oh"), logging=False)

    assert (event.logs_size, event.errors_size, event.logs_digest) == (0, 0, "")
    assert contents == []


def test_outcome_of_a_lost_claim_is_refused() -> None:
    assert decided(Outcome(status_code=200, logs="late"), epoch=2) == ([], [])


def test_output_of_a_canceled_run_is_kept_once() -> None:
    execution, outcome = claimed(), Outcome(status_code=500, reason="canceled", logs="half", errors="oh")
    execution.cancel()
    execution.collect_events()

    contents = decide(execution, 1, outcome, RAN, logging=True, now=datetime.now(UTC))

    [event] = execution.collect_events()
    assert isinstance(event, Execution.OutputKept)
    assert (event.epoch, event.logs_size, event.logs_digest, event.errors_size) == (1, 4, digest(b"half"), 2)
    assert [(c.kind, c.data) for c in contents] == [("logs", b"half"), ("errors", b"oh")]
    assert execution.status == "failed"
    assert decide(execution, 1, outcome, RAN, logging=True, now=datetime.now(UTC)) == []
    assert not execution.collect_events()


@pytest.mark.parametrize(
    ("epoch", "logging", "logs"), [(2, True, "half"), (0, True, "half"), (1, False, "half"), (1, True, "")]
)
def test_canceled_run_keeps_no_output_of_another_claim(epoch: int, logging: bool, logs: str) -> None:
    execution, outcome = claimed(), Outcome(status_code=500, reason="canceled", logs=logs)
    execution.cancel()
    execution.collect_events()

    assert decide(execution, epoch, outcome, RAN, logging=logging, now=datetime.now(UTC)) == []
    assert not execution.collect_events()


def test_output_of_an_attempt_that_ended_before_the_cancel_is_not_kept_twice() -> None:
    execution = claimed()
    execution.retries = Retries(attempts=3)
    outcome = Outcome(status_code=500, reason="crashed", logs="first")
    decide(execution, 1, outcome, RAN, logging=True, now=datetime.now(UTC))
    execution.cancel()
    execution.collect_events()

    assert decide(execution, 1, outcome, RAN, logging=True, now=datetime.now(UTC)) == []
    assert not execution.collect_events()
