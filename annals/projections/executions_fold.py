"""The read model of executions, folded in memory for whole batches: several times faster than statements.

Rebuilds and row versions use it. The inline statements do the same one by one; `tests/replay` compares their rows.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.projections.executions import NOT_DEAD, Columns, claimed, ended, output_kept, requested, retry_scheduled
from annals.store.log.reader import RecordedEvent

MAX_BUFFERED = 10_000
"""Most executions, of some kilobytes each, that wait in memory for their end. Beyond it all are written."""

_STEP = timedelta(milliseconds=1)
_ENDED = frozenset({"completed", "failed"})
_DEFAULTS: Columns = {
    "reason": "",
    "message": "",
    "response_status_code": 0,
    "response_headers": "[]",
    "duration_ms": 0,
    "queue_ms": 0,
    "start_ms": 0,
    "cold": False,
    "environment_digest": "",
    "specification": "",
    "logs_version": 0,
    "logs_size": 0,
    "errors_size": 0,
    "started_at": None,
    "retry_at": None,
    "dead_reason": "",
}
_CHANGES: Mapping[type, Callable[[Any], Columns]] = {
    Execution.Claimed: claimed,
    Execution.RetryScheduled: retry_scheduled,
    Execution.Redriven: lambda _event: NOT_DEAD,
    Execution.Discarded: lambda _event: NOT_DEAD,
    Execution.OutputKept: output_kept,
    Execution.Completed: ended,
    Execution.Failed: ended,
    Execution.DeadLettered: ended,
    Execution.Canceled: ended,
}
"""The columns that an event sets in its execution's row."""

_ENDS = frozenset({Execution.Completed, Execution.Failed, Execution.DeadLettered, Execution.Canceled})


class FoldedBatch(NamedTuple):
    """Rows to write, and the change of the number of executions by function and incarnation."""

    rows: Sequence[Columns]
    counted: Mapping[tuple[str, int], int]


class ExecutionBuffer:
    """Executions that are not in the table yet. An execution stays here until it ends."""

    def __init__(self) -> None:
        self._rows: dict[str, Columns] = {}

    def missing(self, recorded_events: Iterable[RecordedEvent]) -> list[str]:
        """Return the streams whose executions are not here: they are in the table, or deleted."""
        begun: set[str] = set()
        found: dict[str, None] = {}
        for recorded_event in recorded_events:
            stream = recorded_event.event.originator_id
            if type(recorded_event.event) is Execution.Requested:
                begun.add(stream)
            elif stream not in self._rows and stream not in begun:
                found[stream] = None
        return list(found)

    def fold(self, recorded_events: Iterable[RecordedEvent], fetched: Mapping[str, Columns]) -> FoldedBatch:
        """Apply events, given the rows of `missing` that were taken out of the table."""
        rows, counted = self._rows, defaultdict[tuple[str, int], int](int)
        rows.update(fetched)
        candidates = dict.fromkeys(fetched)
        for recorded_event in recorded_events:
            fold(rows, counted, recorded_event)
            if type(recorded_event.event) in _ENDS:
                candidates[recorded_event.event.originator_id] = None
        if len(rows) > MAX_BUFFERED:
            return FoldedBatch(self.take_all(), counted)
        ended = [stream for stream in candidates if stream in rows and rows[stream]["status"] in _ENDED]
        return FoldedBatch([rows.pop(stream) for stream in ended], counted)

    def take_all(self) -> Sequence[Columns]:
        """Remove and return all rows, to be written as they are."""
        rows = list(self._rows.values())
        self._rows.clear()
        return rows


def fold(rows: dict[str, Columns], counted: defaultdict[tuple[str, int], int], recorded_event: RecordedEvent) -> None:
    """Apply an event to its execution's row, and count created and deleted executions by function."""
    event: Any = recorded_event.event
    kind, stream = type(event), event.originator_id
    if kind is Execution.Requested:
        row = rows[stream] = _new(recorded_event, event)
        counted[_function(row)] += 1
    elif (found := rows.get(stream)) is None:
        return  # removed by retention
    elif kind is Execution.Deleted:
        counted[_function(found)] -= 1
        del rows[stream]
    else:
        found.update(_CHANGES[kind](event))
        if kind is Execution.Claimed:
            found["started_at"] = recorded_event.recorded_at
        found["version"] = event.originator_version
        found["updated_at"] = max(recorded_event.recorded_at, found["updated_at"] + _STEP)


def _new(recorded_event: RecordedEvent, event: Execution.Requested) -> Columns:
    row = {
        **_DEFAULTS,
        **requested(event),
        "stream_id": event.originator_id,
        "version": event.originator_version,
        "sequence": recorded_event.position,
        "created_at": recorded_event.recorded_at,
        "updated_at": recorded_event.recorded_at,
    }
    if row["status"] == "processing":
        row["started_at"] = recorded_event.recorded_at
    return row


def _function(row: Columns) -> tuple[str, int]:
    return Function.stream(row["project_id"], row["function_id"]), row["function_sequence"]
