"""The job messages of each event."""

from datetime import UTC, datetime
from typing import Any

import pytest

from annals.domain.deployment import Deployment
from annals.domain.execution import CallRequest, Execution
from annals.domain.function import Function
from annals.domain.ports import Artefact
from annals.store.log.reader import RecordedEvent
from annals.workers.followers import job_messages
from annals.workers.job_messages import (
    BUILD_DEPLOYMENT,
    QUEUE_OF,
    RETIRE_DEPLOYMENT,
    RETIRE_FUNCTION,
    RUN_EXECUTION,
    STOP_BUILD,
    STOP_EXECUTION,
    WARM_FUNCTION,
    Cause,
    split_stream,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def requested(**recorded_events: Any) -> list[Any]:
    execution = Execution.request_run(
        None,
        project_id="p",
        function_id="f",
        function_incarnation=1,
        function_version=1,
        execution_id="x",
        deployment_id="d",
        trigger="http",
        request=CallRequest(method="GET", path="/"),
        **recorded_events,
    )
    return list(execution.collect_events())


def deployment() -> Deployment:
    begun = Deployment.begin(
        None,
        project_id="p",
        function_id="f",
        function_incarnation=1,
        deployment_id="d",
        type="manual",
        entrypoint="main.js",
        commands="",
        activate=True,
        size=1,
    )
    begun.store_source(Artefact(key="k", digest="d", size=1))
    return begun


def actors(events: list[Any]) -> list[str]:
    recorded_events = [RecordedEvent(position, NOW, "p", event) for position, event in enumerate(events, 1)]
    return [w.actor for w in job_messages(recorded_events)]


def test_waiting_execution_is_run() -> None:
    assert actors(requested()) == [RUN_EXECUTION]


@pytest.mark.parametrize("recorded_events", [{"worker": "api-1"}, {"scheduled_at": NOW}])
def test_running_and_future_executions_get_no_job_message(recorded_events: dict[str, Any]) -> None:
    assert actors(requested(**recorded_events)) == []


def test_canceled_execution_is_stopped() -> None:
    event = Execution.Canceled(originator_id="execution:p:x", originator_version=3)

    assert actors([event]) == [STOP_EXECUTION]


def test_queued_build_is_built_and_again_after_a_loss() -> None:
    begun = deployment()
    begun.claim_build("w")
    begun.requeue_build(1)

    assert actors(list(begun.collect_events())) == [BUILD_DEPLOYMENT, BUILD_DEPLOYMENT]


def test_canceled_build_is_stopped_and_deleted_deployment_retired() -> None:
    begun = deployment()
    begun.cancel_build(0)
    begun.delete()

    assert actors(list(begun.collect_events())) == [BUILD_DEPLOYMENT, STOP_BUILD, RETIRE_DEPLOYMENT]


def test_deleted_function_is_retired() -> None:
    event = Function.Deleted(originator_id="function:p:f", originator_version=2)

    assert actors([event]) == [RETIRE_FUNCTION]


def test_job_message_names_its_cause() -> None:
    [event] = requested()
    event.metadata["correlation"] = "r1"

    [job_message] = job_messages([RecordedEvent(42, NOW, "p", event)])

    assert job_message == (RUN_EXECUTION, "execution:p:x", Cause(42, "r1"))
    meta = job_message.cause.meta("worker:w")
    assert (meta.actor, meta.causation, meta.correlation) == ("worker:w", "42", "r1")


def test_every_actor_has_a_queue() -> None:
    stops = {STOP_EXECUTION, STOP_BUILD, RETIRE_DEPLOYMENT, RETIRE_FUNCTION}
    assert {RUN_EXECUTION, BUILD_DEPLOYMENT, WARM_FUNCTION, *stops} == QUEUE_OF.keys()


def test_stream_names_project_and_id() -> None:
    assert split_stream("execution:p:x") == ("p", "x")
