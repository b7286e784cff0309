"""Counts events that the cube lacks: those after the follower's position, or the last ones before a past moment."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.projections.usage.changes import KnownDeployment, UsageChanges, bucket_of, own_id
from annals.projections.usage.stream_heads import all_stream_heads
from annals.store.log.reader import EventReader, RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection, Row

QUERIES = sql.load(__package__, "recount.sql")
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_TAIL = 2000
_WAIT_SECONDS = 5.0
_BATCH = 2000
_MILLISECOND = timedelta(milliseconds=1)

T = TypeVar("T")


class NotBooked(Exception):
    """The follower of usage has not reached `position`, which the answer needs."""

    def __init__(self, position: int) -> None:
        super().__init__(f"usage is not booked up to position {position}")
        self.position = position


async def with_short_tail(attempt: Callable[[int | None], Awaitable[T | None]]) -> T:
    """Return the first result of `attempt`, which gets the most events to count and returns None if there are more.

    The follower books batches much faster than a reader counts them. After some seconds any number is counted.
    """
    deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
    while True:
        late = asyncio.get_running_loop().time() > deadline
        found = await attempt(None if late else _TAIL)
        if found is not None:
            return found
        await asyncio.sleep(0.05)


class Cut(NamedTuple):
    """A past moment, divided: cells count before `until`, a whole quarter of an hour, and events in `tail` after it.

    `booked` is the position up to which the cube must be booked.
    """

    until: datetime
    booked: int
    tail: list[RecordedEvent]


async def cut_at(reader: EventReader, project: str, *, since: int, position: int, moment: datetime) -> Cut:
    """Divide a project's log, which begins at `since`, at a past position and the moment of its event."""
    until = bucket_of(moment)
    booked = max(since - 1, await reader.position_at(until - _MILLISECOND))
    events = await _between(reader, project, booked, position)
    return Cut(until, booked, [recorded_event for recorded_event in events if recorded_event.recorded_at >= until])


async def changes_since(conn: Connection, reader: EventReader, project: str, cut: Cut) -> tuple[UsageChanges, Row]:
    """Begin a snapshot that has everything before the cut, and count the events since.

    Returns the changes, and the row of `booked`. Raises NotBooked.
    """
    await conn.execute(SNAPSHOT)
    booked = await (await conn.execute(QUERIES["booked"])).fetchone()
    if booked is None or booked["position"] < cut.booked:
        raise NotBooked(cut.booked)
    deployments = await _deployments_at(conn, project, cut.booked, cut.tail)
    changes = UsageChanges(deployments, await all_stream_heads(conn, reader, cut.tail))
    for recorded_event in cut.tail:
        changes.apply(recorded_event)
    return changes, booked


async def _between(reader: EventReader, project: str, after: int, until: int) -> list[RecordedEvent]:
    """Return a project's events between two positions: those of a quarter of an hour at most."""
    found: list[RecordedEvent] = []
    while batch := await reader.after(after, _BATCH, project=project, until=until):
        found += batch
        after = batch[-1].position
        await asyncio.sleep(0)
    return found


async def _deployments_at(
    conn: Connection, project: str, position: int, recorded_events: Sequence[RecordedEvent]
) -> dict[tuple[str, str], KnownDeployment]:
    """Return the deployments that the events concern, as they were at a position."""
    params: dict[str, object] = {
        "project_id": project,
        "position": position,
        "deployments": [own_id(f.event) for f in recorded_events if isinstance(f.event, Deployment.Event)],
        "functions": [own_id(f.event) for f in recorded_events if isinstance(f.event, Function.Deleted)],
    }
    rows = await (await conn.execute(QUERIES["deployments_at"], params)).fetchall()
    return {(project, row["id"]): KnownDeployment.of(row) for row in rows}
