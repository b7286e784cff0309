"""The executions that a rebuild buffers in memory, and the time at which it writes them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from annals.domain.execution import CallRequest, Execution, RunRecord
from annals.projections import executions, executions_fold
from annals.projections.executions_fold import ExecutionBuffer
from annals.store.log.reader import RecordedEvent

RAN = RunRecord(deployment_id="d", function_version=1, environment_digest="e", specification="s-1vcpu-512mb", run_ms=12)


def recorded_event(position: int, event: Any) -> RecordedEvent:
    return RecordedEvent(position, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=position), "p", event)


def requested(number: int) -> RecordedEvent:
    event = Execution.Requested(
        originator_topic="execution",
        originator_id=f"execution:p:e{number}",
        originator_version=1,
        project_id="p",
        function_id="f",
        function_incarnation=1,
        function_version=1,
        execution_id=f"e{number}",
        deployment_id="d",
        trigger="http",
        request=CallRequest(method="GET", path="/"),
    )
    return recorded_event(number, event)


def completed(number: int, *, position: int) -> RecordedEvent:
    stream = {"originator_id": f"execution:p:e{number}", "originator_version": 2}
    return recorded_event(position, Execution.Completed(**stream, epoch=1, status_code=200, headers=[], ran=RAN))  # type: ignore[arg-type]


def names(rows: Any) -> list[str]:
    return [row["execution_id"] for row in rows]


def test_execution_is_buffered_until_its_end() -> None:
    waiting = ExecutionBuffer()

    first = waiting.fold([requested(1), requested(2), completed(2, position=3)], {})
    later = [completed(1, position=4)]

    assert names(first.rows) == ["e2"]
    assert waiting.missing(later) == []
    assert names(waiting.fold(later, {}).rows) == ["e1"]
    assert waiting.take_all() == []


def test_full_buffer_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executions_fold, "MAX_BUFFERED", 2)
    waiting = ExecutionBuffer()

    folded = waiting.fold([requested(1), requested(2), requested(3)], {})

    assert names(folded.rows) == ["e1", "e2", "e3"]
    assert waiting.missing([completed(2, position=4)]) == ["execution:p:e2"]
    assert folded.counted == {("function:p:f", 1): 3}


def test_event_of_a_swept_execution_changes_nothing() -> None:
    assert ExecutionBuffer().fold([completed(1, position=4)], {}).rows == []


def test_fold_handles_every_event_that_statements_handle() -> None:
    known = {*executions_fold._CHANGES, Execution.Requested, Execution.Deleted}

    assert known == {kind for kind in executions.PROJECTORS if issubclass(kind, Execution.Event)}
