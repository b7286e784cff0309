"""The attempts of one execution, read from its events, and the reason it waits, for keys and admins."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.executions import parameters, queries
from annals.app.history.streams import whole
from annals.app.identity.scopes import EXECUTIONS_READ
from annals.app.wire import wire_date
from annals.domain.errors import UserUnauthorized
from annals.domain.execution import Execution, RunRecord
from annals.projections.executions import CANCELED
from annals.store.log.reader import RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Row

QUERIES = sql.load(__package__, "attempts.sql")


class Attempt(msgspec.Struct, rename="camel", kw_only=True):
    """One run. Times in seconds: waiting for a worker and a free instance, starting one, and running the code."""

    number: int
    status: str
    started_at: str
    ended_at: str
    reason: str
    message: str
    response_status_code: int
    deployment_id: str
    cold: bool
    queue_time: float
    start_time: float
    run_time: float


class Waiting(msgspec.Struct, kw_only=True):
    """Why an execution does not run yet: `reason` is schedule, retry, concurrency or queue.

    `position` counts those of its function that are before it, itself included; 0 for one whose time is not there.
    """

    reason: str
    position: int
    until: str | None


class Attempts(msgspec.Struct, rename="camel", kw_only=True):
    """All attempts, oldest first. `retries` are those of the accepted call, None for a call that is not retried."""

    id: str = msgspec.field(name="$id")
    status: str
    reason: str
    redrives: str
    redriven_as: str
    total: int
    attempts: Sequence[Attempt]
    waiting: Waiting | None


_ENDS = (Execution.Completed, Execution.Failed, Execution.RetryScheduled, Execution.Canceled)


class AttemptController(operation.ResourceController):
    path = "/v1/functions/{functionId:str}/executions/{executionId:str}/attempts"

    @operation.get(scopes=EXECUTIONS_READ, parameters=parameters.ONE)
    async def get_attempts(self, call: Call) -> Answer:
        if not (await call.caller()).privileged:
            raise UserUnauthorized
        row = await queries.read_row(call, call.values["functionId"], call.values["executionId"])
        recorded_events = await whole(call.services.log.reader, row["stream_id"])
        begun = max(
            number
            for number, recorded_event in enumerate(recorded_events)
            if isinstance(recorded_event.event, Execution.Requested)
        )
        recorded_events = recorded_events[begun:]
        attempts = list(attempts_of(recorded_events))
        again = [
            recorded_event.event.execution_id
            for recorded_event in recorded_events
            if isinstance(recorded_event.event, Execution.Redriven)
        ]
        return json_answer(
            Attempts(
                id=row["execution_id"],
                status=row["status"],
                reason=row["reason"],
                redrives=recorded_events[0].event.redrives,
                redriven_as=again[0] if again else "",
                total=len(attempts),
                attempts=attempts,
                waiting=await _waiting(call, row),
            )
        )


def attempts_of(recorded_events: Sequence[RecordedEvent]) -> Iterator[Attempt]:
    """Yield the attempts in an execution's events, from the request on."""
    ready: datetime = recorded_events[0].event.scheduled_at or recorded_events[0].recorded_at
    begun: RecordedEvent | None = recorded_events[0] if recorded_events[0].event.epoch else None
    for recorded_event in recorded_events[1:]:
        event = recorded_event.event
        if isinstance(event, Execution.Claimed):
            begun = recorded_event
        elif begun is not None and isinstance(event, _ENDS):
            yield _attempt(begun, recorded_event, ready)
            begun = None
            ready = event.due_at if isinstance(event, Execution.RetryScheduled) else ready
    if begun is not None:
        yield _attempt(begun, None, ready)


def _attempt(begun: RecordedEvent, ended: RecordedEvent | None, ready: datetime) -> Attempt:
    event: Any = None if ended is None else ended.event
    ran: RunRecord | None = getattr(event, "ran", None)
    waited = max(0.0, (begun.recorded_at - ready).total_seconds())
    status = "processing" if event is None else "completed" if isinstance(event, Execution.Completed) else "failed"
    reason, message = _said(event)
    return Attempt(
        number=begun.event.epoch,
        status=status,
        started_at=wire_date(begun.recorded_at),
        ended_at="" if ended is None else wire_date(ended.recorded_at),
        reason=reason,
        message=message,
        response_status_code=getattr(event, "status_code", 0),
        deployment_id=ran.deployment_id if ran else "",
        cold=bool(ran and ran.cold),
        queue_time=round(waited + (ran.queue_ms / 1000 if ran else 0), 3),
        start_time=ran.start_ms / 1000 if ran else 0.0,
        run_time=ran.run_ms / 1000 if ran else 0.0,
    )


def _said(event: Any) -> tuple[str, str]:
    if isinstance(event, Execution.Canceled):
        return "canceled", CANCELED
    if isinstance(event, Execution.DeadLettered):
        return event.cause, event.message
    reason, message = getattr(event, "reason", ""), getattr(event, "message", "")
    if reason == "error" and not message:  # what the code wrote as errors is kept apart, and for a time only
        message = f"The code answered with status code {event.status_code}."
    return reason, message


async def _waiting(call: Call, row: Row) -> Waiting | None:
    """What a waiting execution waits for, counted now."""
    now = call.services.now()
    if row["status"] == "scheduled" and row["scheduled_at"] > now:
        return Waiting(reason="schedule", position=0, until=wire_date(row["scheduled_at"]))
    if row["status"] not in {"waiting", "scheduled"}:
        return None
    if row["retry_at"] is not None and row["retry_at"] > now:
        return Waiting(reason="retry", position=0, until=wire_date(row["retry_at"]))
    function = (row["project_id"], row["function_id"])
    found = await call.services.reads.rows(QUERIES["queue"], (row["sequence"], *function, *function))
    [counted] = found.rows
    full = counted["concurrency"] and counted["running"] >= counted["concurrency"]
    return Waiting(reason="concurrency" if full else "queue", position=counted["position"], until=None)
