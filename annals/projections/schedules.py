"""The next due time of each function with a schedule, in a follower's table, which a rebuild reproduces.

A schedule runs while the function has an active deployment (http-api.md 8.3). A firing is the request of an execution
by its schedule. Earlier slots that were missed are skipped, so the next due time lies after the firing.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from annals.domain.cron import next_time, previous_time
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.project import Project
from annals.store.log.reader import RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "schedules.sql")
TABLES = ("schedules",)
_INSTANT = timedelta(microseconds=1)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """The schedule of a function; `schedule_next` is None if it has no due time."""

    stream_id: str
    project_id: str
    function_id: str
    function_sequence: int
    schedule: str
    deployment_id: str = ""
    schedule_next: datetime | None = None
    schedule_previous: datetime | None = None

    def rescheduled(self, now: datetime, *, schedule: str, deployment_id: str) -> "Schedule":
        """Return the schedule with another expression or deployment. The due time stays unless the expression changed.

        A past due time without a firing stays due if the new expression has a slot since then.
        """
        due: datetime | None = None
        if schedule and deployment_id:
            due = self.schedule_next
            if due is None or schedule != self.schedule:
                latest = previous_time(schedule, now + _INSTANT)
                due = latest if due is not None and due <= latest else next_time(schedule, now)
        return msgspec.structs.replace(self, schedule=schedule, deployment_id=deployment_id, schedule_next=due)

    def fired(self, now: datetime) -> "Schedule":
        """Return the schedule after a firing at `now`."""
        if self.schedule_next is None:
            return self
        return msgspec.structs.replace(
            self,
            schedule_next=next_time(self.schedule, now),
            schedule_previous=previous_time(self.schedule, now + _INSTANT),
        )


class ScheduleChanges:
    """The schedules of the functions in a batch; each event changes them."""

    def __init__(self, known: dict[str, Schedule]) -> None:
        self.known = known
        self.touched: set[str] = set()

    def apply(self, recorded_event: RecordedEvent) -> None:
        """Apply one event."""
        event: Any = recorded_event.event
        match event:
            case Function.Created():
                self._keep(
                    Schedule(
                        stream_id=event.originator_id,
                        project_id=event.project_id,
                        function_id=event.function_id,
                        function_sequence=recorded_event.position,
                        schedule=event.configuration.schedule,
                    )
                )
            case Function.Updated():
                self._reschedule(recorded_event, schedule=event.configuration.schedule)
            case Function.DeploymentActivated():
                self._reschedule(recorded_event, deployment_id=event.deployment_id)
            case Function.DeploymentDeactivated():
                self._reschedule(recorded_event, deployment_id="")
            case Function.Deleted():
                self._forget(event.originator_id)
            case Execution.Requested(trigger="schedule", scheduled_at=None, redrives=""):
                self._fire(recorded_event, event)
            case Project.Deleted():
                for stream in [
                    s for s, schedule in self.known.items() if schedule.project_id == recorded_event.project
                ]:
                    self._forget(stream)

    def _reschedule(
        self, recorded_event: RecordedEvent, *, schedule: str | None = None, deployment_id: str | None = None
    ) -> None:
        known = self.known.get(recorded_event.event.originator_id)
        if known is not None:
            self._keep(
                known.rescheduled(
                    recorded_event.recorded_at,
                    schedule=known.schedule if schedule is None else schedule,
                    deployment_id=known.deployment_id if deployment_id is None else deployment_id,
                )
            )

    def _fire(self, recorded_event: RecordedEvent, event: Execution.Requested) -> None:
        known = self.known.get(Function.stream(event.project_id, event.function_id))
        if known is not None and known.function_sequence == event.function_incarnation:
            self._keep(known.fired(recorded_event.recorded_at))

    def _keep(self, schedule: Schedule) -> None:
        self.known[schedule.stream_id] = schedule
        self.touched.add(schedule.stream_id)

    def _forget(self, stream: str) -> None:
        self.known.pop(stream, None)
        self.touched.add(stream)


async def follow(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
    """Write the schedules after a batch (the follower's handler)."""
    relevant = [recorded_event for recorded_event in recorded_events if wants(recorded_event.event)]
    if not relevant:
        return
    changes = ScheduleChanges(await _known(conn, relevant))
    for recorded_event in relevant:
        changes.apply(recorded_event)
    gone = [stream for stream in changes.touched if stream not in changes.known]
    if gone:
        await conn.execute(QUERIES["forget"], {"streams": gone})
    kept = [changes.known[stream] for stream in changes.touched if stream in changes.known]
    if kept:
        columns = {name: [getattr(row, name) for row in kept] for name in Schedule.__struct_fields__}
        await conn.execute(QUERIES["keep"], columns)


def wants(event: Any) -> bool:
    """Return True if an event may change a due time."""
    if isinstance(event, Execution.Requested):
        return event.trigger == "schedule" and event.scheduled_at is None and not event.redrives
    return isinstance(event, Function.Event | Project.Deleted)


async def _known(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> dict[str, Schedule]:
    streams = {_function_of(recorded_event.event) for recorded_event in recorded_events}
    projects = [
        recorded_event.project
        for recorded_event in recorded_events
        if isinstance(recorded_event.event, Project.Deleted)
    ]
    cursor = await conn.execute(QUERIES["rows"], {"streams": list(streams), "projects": projects}, binary=True)
    return {row["stream_id"]: Schedule(**row) for row in await cursor.fetchall()}


def _function_of(event: Any) -> str:
    if isinstance(event, Execution.Requested):
        return Function.stream(event.project_id, event.function_id)
    return str(event.originator_id)
