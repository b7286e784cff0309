"""The executions behind a number of the usage cube, read from the log, which keeps them for good."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from annals.domain.execution import Execution
from annals.projections.usage.changes import StreamHead, own_id
from annals.projections.usage.stream_heads import all_stream_heads, head_of
from annals.store.log.reader import EventReader, RecordedEvent

_BATCH = 1000
_MOST_READ = 50_000
"""Most events that a page may read, matching or not."""

_Ended = Execution.Completed | Execution.Failed | Execution.Canceled
_MILLISECOND = timedelta(milliseconds=1)


class EndedExecution(NamedTuple):
    """An execution that ended, as the cube counts it; times in milliseconds."""

    position: int
    ended_at: datetime
    execution_id: str
    function: str
    deployment: str
    trigger: str
    status: str
    reason: str
    specification: str
    duration: int
    queue_time: int
    cold: bool


class ExecutionsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A range without its end, and the allowed values by dimension; `hour` is an hour of the zone's day.

    Only events from the position `since`, at which the project was created, to `last` count.
    """

    project_id: str
    start: datetime
    end: datetime
    zone: ZoneInfo
    filters: Mapping[str, Sequence[str]] = {}
    since: int = 0
    last: int | None = None

    def matches(self, ended: EndedExecution) -> bool:
        """Return True if the execution has an allowed value in each dimension."""
        hour = str(ended.ended_at.astimezone(self.zone).hour)
        return all(
            (hour if dimension == "hour" else getattr(ended, dimension)) in values
            for dimension, values in self.filters.items()
        )


class ExecutionsPage(NamedTuple):
    """Executions, and the `cursor` of the next page: None at the end. A page that read many events may hold few."""

    executions: list[EndedExecution]
    cursor: int | None


async def page(reader: EventReader, query: ExecutionsQuery, *, cursor: int, limit: int) -> ExecutionsPage:
    """Return executions in the order of their ends. Raises StoreUnavailable, ArchiveDamaged, BlobError."""
    position = max(cursor, query.since - 1, await reader.position_at(query.start - _MILLISECOND))
    until = await reader.position_at(query.end - _MILLISECOND)
    until = until if query.last is None else min(until, query.last)
    found: list[EndedExecution] = []
    heads: dict[str, StreamHead] = {}
    for _ in range(_MOST_READ // _BATCH):
        batch = await reader.after(position, _BATCH, project=query.project_id, until=until)
        async with reader.database.transaction() as conn:
            heads |= await all_stream_heads(conn, reader, batch, heads)
        for recorded_event in batch:
            position = recorded_event.position
            if isinstance(recorded_event.event, Execution.Requested):
                heads[recorded_event.event.originator_id] = head_of(recorded_event.event)  # an id may be used again
            if isinstance(recorded_event.event, _Ended):
                ended = _ended(recorded_event, heads.pop(recorded_event.event.originator_id))
                if query.matches(ended):
                    found.append(ended)
                    if len(found) == limit:
                        return ExecutionsPage(found, position)
        if not batch or position >= until:
            return ExecutionsPage(found, None)
    return ExecutionsPage(found, position)


def _ended(recorded_event: RecordedEvent, head: StreamHead) -> EndedExecution:
    event = recorded_event.event
    ran = None if isinstance(event, Execution.Canceled) else event.ran
    completed = isinstance(event, Execution.Completed)
    return EndedExecution(
        position=recorded_event.position,
        ended_at=recorded_event.recorded_at,
        execution_id=own_id(event),
        function=head.function_id,
        deployment=ran.deployment_id if ran else "",
        trigger=head.trigger,
        status="completed" if completed else "failed",
        reason=event.reason if isinstance(event, Execution.Failed) else "" if completed else "canceled",
        specification=ran.specification if ran else "",
        duration=ran.run_ms if ran else 0,
        queue_time=ran.queue_ms if ran else 0,
        cold=ran.cold if ran else False,
    )
