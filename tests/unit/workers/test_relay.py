"""The job messages of each event."""

from datetime import UTC, datetime
from typing import Any

import pytest

from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
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
from tests.unit.domain.given import SOURCE, begun, requested

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def request_events(**fields: Any) -> list[Any]:
    return list(requested(execution_id="x", **fields).collect_events())


def deployment() -> Deployment:
    queued = begun()
    queued.store_source(SOURCE)
    return queued


def actors(events: list[Any]) -> list[str]:
    recorded_events = [RecordedEvent(position, NOW, "p", event) for position, event in enumerate(events, 1)]
    return [w.actor for w in job_messages(recorded_events)]


def test_waiting_execution_is_run() -> None:
    assert actors(request_events()) == [RUN_EXECUTION]


@pytest.mark.parametrize("recorded_events", [{"worker": "api-1"}, {"scheduled_at": NOW}])
def test_running_and_future_executions_get_no_job_message(recorded_events: dict[str, Any]) -> None:
    assert actors(request_events(**recorded_events)) == []


def test_canceled_execution_is_stopped() -> None:
    event = Execution.Canceled(originator_id="execution:p:x", originator_version=3)

    assert actors([event]) == [STOP_EXECUTION]


def test_queued_build_is_built_and_again_after_a_loss() -> None:
    queued = deployment()
    queued.claim_build("w")
    queued.requeue_build(1)

    assert actors(list(queued.collect_events())) == [BUILD_DEPLOYMENT, BUILD_DEPLOYMENT]


def test_canceled_build_is_stopped_and_deleted_deployment_retired() -> None:
    queued = deployment()
    queued.cancel_build(0)
    queued.delete()

    assert actors(list(queued.collect_events())) == [BUILD_DEPLOYMENT, STOP_BUILD, RETIRE_DEPLOYMENT]


def test_deleted_function_is_retired() -> None:
    event = Function.Deleted(originator_id="function:p:f", originator_version=2)

    assert actors([event]) == [RETIRE_FUNCTION]


def test_job_message_names_its_cause() -> None:
    [event] = request_events()
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
