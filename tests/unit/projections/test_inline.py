"""The events that change inline read models, and the number of their statements."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from annals.application.event_log import DISCARDS, inline
from annals.domain.execution import CallRequest, Execution, RunRecord
from annals.domain.function import Function
from annals.domain.variables import Variable
from annals.projections.inline import PROJECTORS, project
from annals.store.log.mapper import event_classes
from annals.store.log.request import Statement

SILENT = {"retention.began"}
"""Events that change no row of a read model."""

STREAM: dict[str, Any] = {"originator_id": "execution:p:e", "originator_version": 2}
RAN = RunRecord(deployment_id="d", function_version=1, environment_digest="x", specification="s-1vcpu-1gb")


def requested(**fields: Any) -> Execution.Requested:
    given: dict[str, Any] = {
        "originator_id": "execution:p:e",
        "originator_version": 1,
        "originator_topic": "execution",
        "project_id": "p",
        "function_id": "f",
        "function_incarnation": 7,
        "function_version": 3,
        "execution_id": "e",
        "deployment_id": "d",
        "trigger": "http",
        "request": CallRequest(method="GET", path="/"),
    }
    return Execution.Requested(**{**given, **fields})


def test_every_event_changes_a_read_model_or_is_listed_as_silent() -> None:
    classes = event_classes()
    ours = {topic for topic, cls in classes.items() if cls.__module__.startswith("annals.domain")}

    assert {topic for topic in ours if classes[topic] not in PROJECTORS} == SILENT


@pytest.mark.parametrize(
    "event",
    [
        requested(),
        requested(worker="api", epoch=1),
        Execution.Claimed(**STREAM, worker="w", epoch=1),
        Execution.Completed(**STREAM, epoch=1, status_code=200, headers=[], ran=RAN),
        Execution.Failed(**STREAM, epoch=1, reason="timeout", message="", status_code=500, ran=RAN),
        Execution.Failed(**STREAM, epoch=1, reason="worker_lost", message="", status_code=500),
    ],
)
def test_most_frequent_events_need_one_statement(event: Any) -> None:
    assert len(inline(event)) == 1


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "waiting"),
        ({"worker": "api", "epoch": 1}, "processing"),
        ({"trigger": "schedule", "scheduled_at": datetime(2040, 1, 1, tzinfo=UTC)}, "scheduled"),
        ({"trigger": "schedule"}, "waiting"),
    ],
)
def test_first_status_depends_on_the_request(fields: dict[str, Any], status: str) -> None:
    (statement,) = project(requested(**fields))

    assert statement.params["status"] == status


def test_statement_has_every_parameter_that_its_text_names() -> None:
    events: list[Any] = [
        requested(),
        Execution.Claimed(**STREAM, worker="w", epoch=1),
        Execution.Completed(**STREAM, epoch=1, status_code=200, headers=[], ran=RAN),
        Execution.Canceled(**STREAM),
        Execution.OutputKept(**STREAM, epoch=1),
        Execution.Deleted(**STREAM),
        Function.VariableAdded(
            originator_id="function:p:f",
            originator_version=2,
            variable=Variable(variable_id="v", key="K", sealed="s", secret=True),
        ),
    ]
    for statement in [statement for event in events for statement in inline(event)]:
        assert _named(statement) <= set(statement.params), statement.sql[:60]


def _named(statement: Statement) -> set[str]:
    return set(re.findall(r"%\((\w+)\)s", statement.sql))


def test_discards_run_before_the_rows_are_deleted() -> None:
    deleted = Function.Deleted(originator_id="function:p:f", originator_version=9)

    discards = DISCARDS[Function.Deleted](deleted)

    assert discards
    assert list(inline(deleted)) == [*discards, *project(deleted)]
