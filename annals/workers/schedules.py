"""Schedules: request executions at their time. Times that passed without a keeper run once, for the latest slot."""

import asyncio
import hashlib
from datetime import datetime, timedelta

import structlog

from annals.application.executions.request import record_triggered
from annals.domain.cron import previous_time
from annals.domain.execution import CallRequest
from annals.store.log.log import EventLog, Meta
from annals.store.postgres import sql
from annals.store.postgres.database import Row
from annals.workers.job_messages import RUN_EXECUTION
from annals.workers.redelivery import QUERIES as REDELIVERY
from annals.workers.redelivery import Queue, wake

QUERIES = sql.load(__package__, "schedules.sql")

LATE = timedelta(seconds=30)
"""How long after its time a firing counts as late: longer than the replacement of a keeper takes."""

_LIMIT = 500
_INSTANT = timedelta(microseconds=1)

log = structlog.get_logger(__name__)


def firing_id(incarnation: int, slot: datetime) -> str:
    """Return the id of a schedule's execution: every keeper that fires a slot of a function names the same stream."""
    return hashlib.sha256(f"{incarnation}:{slot.isoformat()}".encode()).hexdigest()[:20]


def is_late(slot: datetime, now: datetime) -> bool:
    """Return True if a firing at `now` is marked as late."""
    return now - slot > LATE


class Schedules:
    """Fires due schedules at each `tick`, during one term of a keeper."""

    def __init__(self, log: EventLog, queue: Queue, *, look_back_seconds: float) -> None:
        """`look_back_seconds`: how long after its time a one-off run gets a job message here; later, by redelivery."""
        self._log = log
        self._queue = queue
        self._look_back = look_back_seconds
        self._woken: set[str] = set()

    async def tick(self) -> None:
        await self._fire()
        await self._wake()

    async def _fire(self) -> None:
        due = await self._log.database.rows(QUERIES["due_functions"], {"limit": _LIMIT})
        await asyncio.gather(*(self._fire_one(row) for row in due))

    async def _fire_one(self, due: Row) -> None:
        slot = previous_time(due["schedule"], due["now"] + _INSTANT)
        execution_id = firing_id(due["function_sequence"], slot)
        recorded = await record_triggered(
            self._log,
            due,
            execution_id,
            trigger="schedule",
            request=CallRequest(method="POST", path="/"),
            meta=Meta(actor="schedule"),
            slot=slot,
            late=is_late(slot, due["now"]),
        )
        if not recorded:
            return  # fired already with a follower that lags, or deleted meanwhile
        log.info("schedule_fired", function=due["function_id"], slot=slot.isoformat())

    async def _wake(self) -> None:
        """Send job messages for one-off runs that are due; a second message for one is harmless."""
        params = {"seconds": self._look_back, "limit": _LIMIT}
        due = {row["stream_id"] for row in await self._log.database.rows(REDELIVERY["due_executions"], params)}
        fresh = due - self._woken
        if fresh:
            await wake(self._log.database, self._queue, RUN_EXECUTION, sorted(fresh))
        self._woken = due
