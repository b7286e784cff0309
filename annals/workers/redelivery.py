"""Redelivery: send lost job messages again, since Postgres knows the work that waits.

Messages are lost when Redis is emptied, or when a worker dies with them.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec
import structlog

from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.store.log.build_demand import read_demand
from annals.store.log.compact_states import plain
from annals.store.postgres import sql
from annals.store.postgres.database import Database, Row
from annals.workers.job_messages import BUILD_DEPLOYMENT, QUEUE_OF, RUN_EXECUTION, UNKNOWN, Cause, JobMessage

QUERIES = sql.load(__package__, "redelivery.sql")

_MOMENT_SECONDS = 3.0
"""How long a job message may take, by the keeper's own clock: that of the log may be set back."""

_LIMIT = 1000
_CAUSES = [Execution.Requested.TOPIC, Execution.RetryScheduled.TOPIC, Deployment.BuildQueued.TOPIC]

log = structlog.get_logger(__name__)


class Queue(Protocol):
    """The part of the broker that sends job messages and counts those that wait."""

    def wake(self, job_messages: Iterable[JobMessage]) -> int: ...

    def queued(self, queue_name: str, tenant: str = "") -> int: ...


class _Queued(msgspec.Struct):
    """The event that queued a stream, as far as a job message needs it."""

    metadata: dict[str, str]


_decode = msgspec.json.Decoder(_Queued).decode


def _correlation(state: bytes) -> str:
    return _decode(plain(state)).metadata.get("correlation", "")


def missing(oldest: Sequence[str], *, waiting: int, queued: int) -> Sequence[str]:
    """Return the oldest waiting streams without a job message: a tenant queue is served in order, so the rest have one.

    The result may include a few streams that a worker takes up right now, which is harmless.
    """
    return oldest[: max(0, waiting - queued)]


async def wake(database: Database, queue: Queue, actor: str, streams: Sequence[str]) -> None:
    """Send job messages with the same causes as the relay's. Raises QueueUnavailable."""
    if not streams:
        return
    causes = await causes_of(database, streams)
    job_messages = [JobMessage(actor, stream, causes.get(stream, UNKNOWN)) for stream in streams]
    await asyncio.to_thread(queue.wake, job_messages)


async def causes_of(database: Database, streams: Sequence[str]) -> dict[str, Cause]:
    """Return the cause that queued each stream last."""
    rows = await database.rows(QUERIES["causes"], {"streams": list(streams), "topics": _CAUSES})
    return {row["stream"]: Cause(row["position"], _correlation(row["state"])) for row in rows}


class Redelivery:
    """Sweeps both queues during one term of a keeper, and remembers since when each stream waits."""

    def __init__(self, database: Database, queue: Queue, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._queue = queue
        self._clock = clock
        self._seen: dict[str, dict[str, float]] = {}

    async def sweep(self) -> int:
        """Send missing job messages again, and return how many. Raises QueueUnavailable."""
        executions = await self._database.rows(QUERIES["waiting_executions"], {"limit": _LIMIT})
        builds = [tenant.waiting for tenant in (await read_demand(self._database)).startable()]
        return await self._resend(RUN_EXECUTION, executions) + await self._resend(
            BUILD_DEPLOYMENT, [{"lane": "", "total": len(builds), "oldest": builds}]
        )

    async def _resend(self, actor: str, rows: Sequence[Row]) -> int:
        now, seen = self._clock(), self._seen.get(actor, {})
        seen = self._seen[actor] = {stream: seen.get(stream, now) for row in rows for stream in row["oldest"]}
        sent = 0
        for row in rows:
            if oldest := [stream for stream in row["oldest"] if now - seen[stream] >= _MOMENT_SECONDS]:
                queued = await asyncio.to_thread(self._queue.queued, QUEUE_OF[actor], row["lane"])
                streams = missing(oldest, waiting=row["total"], queued=queued)
                await wake(self._database, self._queue, actor, streams)
                sent += len(streams)
        if sent:
            log.info("wake_ups_sent_again", actor=actor, count=sent)
        return sent
