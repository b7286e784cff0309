"""What is recorded of an outcome, and what is kept beside it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from annals.application.executions.outcome import settle
from annals.domain.execution import Execution, Header, Kept, Ran, Request
from annals.domain.policy import Retries
from annals.domain.ports import UNANSWERED_STATUS, Outcome, Whole
from annals.store.content.contents import digest

RAN = Ran(deployment_id="d", function_version=1, environment_digest="e", specification="s-1vcpu-512mb")


def claimed() -> Execution:
    execution = Execution.request_run(
        None,
        project_id="p",
        function_id="f",
        function_incarnation=1,
        function_version=1,
        execution_id="x",
        deployment_id="d",
        trigger="http",
        request=Request(method="GET", path="/"),
        worker="w",
    )
    execution.collect_events()
    return execution


def settled(outcome: Outcome, *, epoch: int = 1, logging: bool = True) -> tuple[list[Any], list[Any]]:
    execution = claimed()
    contents = settle(execution, epoch, outcome, RAN, logging=logging, now=datetime.now(UTC))
    return list(execution.collect_events()), contents


def test_an_answer_below_500_completes_with_the_headers_that_are_kept() -> None:
    outcome = Outcome(
        status_code=404, headers=[("content-type", "text/plain"), ("set-cookie", "s=1")], logs="hi", errors="oh"
    )

    [event], contents = settled(outcome)

    assert isinstance(event, Execution.Completed)
    assert event.status_code == 404
    assert event.headers == [Header("content-type", "text/plain")]
    assert (event.logs_size, event.logs_digest) == (2, digest(b"hi"))
    assert [(c.kind, c.data) for c in contents] == [("logs", b"hi"), ("errors", b"oh")]


def test_an_answer_of_500_is_the_codes_own_error() -> None:
    [event], _ = settled(Outcome(status_code=503))

    assert isinstance(event, Execution.Failed)
    assert (event.reason, event.status_code) == ("error", 503)


def test_no_answer_fails_with_its_reason_and_the_output_so_far() -> None:
    outcome = Outcome(
        status_code=UNANSWERED_STATUS, reason="out_of_memory", message="It used more than 512 MiB.", logs="so far"
    )

    [event], contents = settled(outcome)

    assert isinstance(event, Execution.Failed)
    assert (event.reason, event.message, event.status_code) == ("out_of_memory", "It used more than 512 MiB.", 500)
    assert [c.data for c in contents] == [b"so far"]


def test_a_log_that_is_kept_whole_is_named_by_the_event_and_kept_beside_it() -> None:
    whole = Whole(kind="logs", key="contents/p/b", digest="d" * 64, size=2_000_000)

    [event], contents = settled(Outcome(status_code=200, logs="the end", whole=[whole]))

    assert event.whole == [Kept(kind="logs", digest="d" * 64, size=2_000_000)]
    assert [(c.kind, c.digest, c.size) for c in contents] == [
        ("logs", digest(b"the end"), 7),
        ("whole_logs", "d" * 64, 2_000_000),
    ]


def test_without_logging_no_output_is_kept() -> None:
    [event], contents = settled(Outcome(status_code=200, logs="hi", errors="oh"), logging=False)

    assert (event.logs_size, event.errors_size, event.logs_digest) == (0, 0, "")
    assert contents == []


def test_an_outcome_of_a_lost_claim_is_refused() -> None:
    assert settled(Outcome(status_code=200, logs="late"), epoch=2) == ([], [])


def test_what_a_canceled_run_wrote_is_kept_once() -> None:
    execution, outcome = claimed(), Outcome(status_code=500, reason="canceled", logs="half", errors="oh")
    execution.cancel()
    execution.collect_events()

    contents = settle(execution, 1, outcome, RAN, logging=True, now=datetime.now(UTC))

    [event] = execution.collect_events()
    assert isinstance(event, Execution.OutputKept)
    assert (event.epoch, event.logs_size, event.logs_digest, event.errors_size) == (1, 4, digest(b"half"), 2)
    assert [(c.kind, c.data) for c in contents] == [("logs", b"half"), ("errors", b"oh")]
    assert execution.status == "failed"
    assert settle(execution, 1, outcome, RAN, logging=True, now=datetime.now(UTC)) == []
    assert not execution.collect_events()


@pytest.mark.parametrize(
    ("epoch", "logging", "logs"), [(2, True, "half"), (0, True, "half"), (1, False, "half"), (1, True, "")]
)
def test_of_a_canceled_run_nothing_else_is_kept(epoch: int, logging: bool, logs: str) -> None:
    execution, outcome = claimed(), Outcome(status_code=500, reason="canceled", logs=logs)
    execution.cancel()
    execution.collect_events()

    assert settle(execution, epoch, outcome, RAN, logging=logging, now=datetime.now(UTC)) == []
    assert not execution.collect_events()


def test_an_attempt_that_was_over_when_its_call_was_canceled_has_its_output_already() -> None:
    execution = claimed()
    execution.retries = Retries(attempts=3)
    outcome = Outcome(status_code=500, reason="crashed", logs="first")
    settle(execution, 1, outcome, RAN, logging=True, now=datetime.now(UTC))
    execution.cancel()
    execution.collect_events()

    assert settle(execution, 1, outcome, RAN, logging=True, now=datetime.now(UTC)) == []
    assert not execution.collect_events()
