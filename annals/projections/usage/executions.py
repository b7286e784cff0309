"""The executions that a number of the usage cube counted: read from the log, where nothing ever leaves it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from annals.domain.execution import Execution
from annals.projections.usage.deltas import Beginning, own_id
from annals.projections.usage.stream_heads import all_beginnings, beginning
from annals.store.log.reader import EventReader, RecordedEvent

_BATCH = 1000
_MOST_READ = 50_000
"""EventReader that one page may read, matching or not."""

_Ended = Execution.Completed | Execution.Failed | Execution.Canceled
_MILLISECOND = timedelta(milliseconds=1)


class Ended(NamedTuple):
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


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A range, the beginning included, and what each dimension may be; `hour` is one of the zone's day.

    What came before the position `since`, at which the project was created, or after `last` does not count.
    """

    project_id: str
    start: datetime
    end: datetime
    zone: ZoneInfo
    filters: Mapping[str, Sequence[str]] = {}
    since: int = 0
    last: int | None = None

    def matches(self, ended: Ended) -> bool:
        hour = str(ended.ended_at.astimezone(self.zone).hour)
        return all(
            (hour if dimension == "hour" else getattr(ended, dimension)) in words
            for dimension, words in self.filters.items()
        )


class Page(NamedTuple):
    """`cursor` is where the next page begins, None at the end; a page that had to read much may hold few."""

    executions: list[Ended]
    cursor: int | None


async def page(reader: EventReader, wanted: Wanted, *, cursor: int, limit: int) -> Page:
    """Executions in the order in which they ended. Raises StoreUnavailable, ArchiveDamaged, BlobError."""
    position = max(cursor, wanted.since - 1, await reader.position_at(wanted.start - _MILLISECOND))
    until = await reader.position_at(wanted.end - _MILLISECOND)
    until = until if wanted.last is None else min(until, wanted.last)
    found: list[Ended] = []
    begun: dict[str, Beginning] = {}
    for _ in range(_MOST_READ // _BATCH):
        batch = await reader.after(position, _BATCH, project=wanted.project_id, until=until)
        async with reader.database.transaction() as conn:
            begun |= await all_beginnings(conn, reader, batch, begun)
        for recorded_event in batch:
            position = recorded_event.position
            if isinstance(recorded_event.event, Execution.Requested):
                begun[recorded_event.event.originator_id] = beginning(recorded_event.event)  # an id may be taken again
            if isinstance(recorded_event.event, _Ended):
                ended = _ended(recorded_event, begun.pop(recorded_event.event.originator_id))
                if wanted.matches(ended):
                    found.append(ended)
                    if len(found) == limit:
                        return Page(found, position)
        if not batch or position >= until:
            return Page(found, None)
    return Page(found, position)


def _ended(recorded_event: RecordedEvent, began: Beginning) -> Ended:
    event = recorded_event.event
    ran = None if isinstance(event, Execution.Canceled) else event.ran
    completed = isinstance(event, Execution.Completed)
    return Ended(
        position=recorded_event.position,
        ended_at=recorded_event.recorded_at,
        execution_id=own_id(event),
        function=began.function_id,
        deployment=ran.deployment_id if ran else "",
        trigger=began.trigger,
        status="completed" if completed else "failed",
        reason=event.reason if isinstance(event, Execution.Failed) else "" if completed else "canceled",
        specification=ran.specification if ran else "",
        duration=ran.run_ms if ran else 0,
        queue_time=ran.queue_ms if ran else 0,
        cold=ran.cold if ran else False,
    )
