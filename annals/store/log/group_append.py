"""Group append: the waiting requests of a process share one transaction, one round trip and one fsync.

Why appends are grouped: docs/adr/0006-group-append.md. How a batch reaches Postgres: append_modes.py.
One file because the queue, the rule for its batches and the appender change together.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping

import psycopg
import structlog

from annals.domain.errors import DomainError
from annals.store.errors import (
    AnswerLost,
    DataKeyReplaced,
    NoFreeSlot,
    ProjectReplaced,
    StandbyAway,
    StoreUnavailable,
    StreamConflict,
)
from annals.store.log import append_modes
from annals.store.log.append_modes import Outcome, append_batch, constraint_of
from annals.store.log.request import BYTE_LIMIT, EVENT_LIMIT, Appended, AppendRequest, measure
from annals.store.postgres.database import Connection, Database
from annals.store.postgres.standby import barrier

BATCH_SECONDS = 10.0
"""A batch that takes longer, the wait for the lock included, loses its connection.

A batch that waits for a standby keeps it: each new connection would leave one more session waiting.
"""

_BUSY = ("53", "40", "55P03", "57014", "25006")
"""SQLSTATEs of transient errors: no resources, deadlocks, timeouts, a server that became a standby."""

log = structlog.get_logger(__name__)


class QueuedAppend:
    """A request in the queue.

    `deadline` is when it fails if the database stays away. `losses` counts the connections that broke with it in
    flight: after one, its events may be stored already.
    """

    __slots__ = ("answer", "deadline", "losses", "request", "size", "streams")

    def __init__(self, request: AppendRequest, size: int, deadline: float, answer: asyncio.Future[Appended]) -> None:
        self.request = request
        self.size = size
        self.deadline = deadline
        self.answer = answer
        self.streams = request.streams
        self.losses = 0

    @property
    def alone(self) -> bool:
        """Return whether the request needs a batch of its own."""
        return self.losses > 0 or self.request.alone

    def resolve(self, outcome: Outcome) -> None:
        if self.answer.done():  # the caller was cancelled; a commit stays
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


def take_batch(queue: deque[QueuedAppend]) -> list[QueuedAppend]:
    """Remove the next batch from a queue: in order, within the limits, each stream at most once.

    A second request for a stream waits for the next batch, and so does a request that shares a stream with a waiting
    one: requests of one stream keep their order. A request goes alone if it asks for that, or if a connection broke
    with it before: it may be the cause.
    """
    batch: list[QueuedAppend] = []
    left: list[QueuedAppend] = []
    streams: set[str] = set()
    events = size = 0
    while queue:
        queued = queue.popleft()
        if queued.answer.done():  # cancelled before it was sent
            continue
        full = events + len(queued.request.events) > EVENT_LIMIT or size + queued.size > BYTE_LIMIT
        if batch and (full or queued.alone):
            left.append(queued)
            break
        if streams.isdisjoint(queued.streams):
            batch.append(queued)
            events += len(queued.request.events)
            size += queued.size
        else:
            left.append(queued)
        streams |= queued.streams
        if queued.alone:
            break
    queue.extendleft(reversed(left))
    return batch


class GroupAppender:
    """Appends all requests of a process, by one task with its own connection."""

    def __init__(
        self,
        database: Database,
        constraint_errors: Mapping[str, type[DomainError]] | None = None,
        *,
        retry_seconds: float = 3.0,
    ) -> None:
        """Start the task. `constraint_errors` maps a read model's constraint to the error of its violation.

        A request waits for a database that is away for `retry_seconds`.
        """
        self._database = database
        self._constraint_errors = constraint_errors or {}
        self._retry_seconds = retry_seconds
        self._queue: deque[QueuedAppend] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._conn: Connection | None = None
        self._in_flight: list[QueuedAppend] = []
        self._limit: asyncio.Timeout | None = None
        database.standby.on_change(self._standby_changed)
        self._task = asyncio.get_running_loop().create_task(self._work(), name="group-append")

    async def append(self, request: AppendRequest) -> Appended:
        """Record a whole request or nothing, and return after the commit.

        Raises StreamConflict, NoFreeSlot, ProjectReplaced, DataKeyReplaced, the error of a violated constraint,
        RequestTooLarge, StoreUnavailable (StandbyAway at once if the standby is known to be away), or the error of
        Postgres for any other statement that fails.
        """
        size = measure(request)
        if self._closing:
            raise StoreUnavailable("The event store is closing.")
        if self._database.standby.away:
            raise StandbyAway
        loop = asyncio.get_running_loop()
        queued = QueuedAppend(request, size, loop.time() + self._retry_seconds, loop.create_future())
        self._queue.append(queued)
        self._arrived.set()
        return await queued.answer

    async def attempt(self, request: AppendRequest) -> Appended:
        """Return the result that an append would have, and record nothing; it leaves a gap in the positions.

        Raises as `append`.
        """
        measure(request)
        async with self._database.connection() as conn:
            return await append_modes.attempt(conn, request, self._classify)

    async def close(self) -> None:
        """Record the queued requests and close the connection. Do not wait for a standby that is away."""
        self._closing = True
        self._standby_changed()
        self._arrived.set()
        await self._task

    async def _work(self) -> None:
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._queue:
                    conn = await self._connected()
                    if conn is not None and (batch := take_batch(self._queue)):
                        await self._record(conn, batch)
                if self._closing:
                    return
        finally:
            self._closing = True
            await self._disconnect()
            self._fail_all(StoreUnavailable("The event store is closing."))

    async def _record(self, conn: Connection, batch: list[QueuedAppend]) -> None:
        self._in_flight = batch
        try:
            async with asyncio.timeout(BATCH_SECONDS) as self._limit:
                with self._database.standby.watching(conn, ends=False):
                    outcomes = await self._outcomes(conn, batch)
        except Exception as error:
            if not (conn.closed or isinstance(error, TimeoutError | psycopg.OperationalError)):
                log.exception("append_failed", requests=len(batch))
            await self._disconnect()
            self._retry_or_fail(batch, error)
        else:
            for queued, outcome in zip(batch, outcomes, strict=True):
                queued.resolve(outcome)
        finally:
            self._in_flight = []
            self._limit = None

    def _standby_changed(self) -> None:
        """Answer all callers while the standby is away; the batch in flight waits for it without a limit.

        Ending the batch's wait would show events to followers that a failover may lose.
        """
        away = self._database.standby.away
        if away:
            for queued in (*self._in_flight, *self._queue):
                queued.resolve(StandbyAway())
            self._queue.clear()
        limit = self._limit
        if limit is not None and not limit.expired():
            now = asyncio.get_running_loop().time()
            if not away:
                limit.reschedule(now + BATCH_SECONDS)
            else:
                limit.reschedule(now if self._closing else None)

    async def _outcomes(self, conn: Connection, batch: list[QueuedAppend]) -> list[Outcome]:
        outcomes = await append_batch(conn, [queued.request for queued in batch], self._classify)
        for index, queued in enumerate(batch):
            if queued.losses and isinstance(outcomes[index], StreamConflict | NoFreeSlot):
                outcomes[index] = await self._stored_outcome(conn, queued, outcomes[index])
        return outcomes

    async def _stored_outcome(self, conn: Connection, queued: QueuedAppend, outcome: Outcome) -> Outcome:
        """Return the result of a request whose first connection committed it before breaking, else `outcome`.

        The barrier is needed because the wait for the standby ended with that connection.
        """
        found = await append_modes.stored(conn, queued.request)
        if found is None:
            return outcome
        await barrier(conn)
        returning = any(statement.table for statement in queued.request.statements)
        return AnswerLost() if returning else found

    def _classify(self, error: Exception) -> Exception:
        """Return the error that a request's caller gets for an error of Postgres."""
        constraint = constraint_of(error)
        if constraint == append_modes.STREAM_KEY:
            return StreamConflict()
        if constraint == append_modes.PROJECTS:
            return ProjectReplaced()
        if constraint == append_modes.DATA_KEYS:
            return DataKeyReplaced()
        if constraint is not None and constraint in self._constraint_errors:
            return self._constraint_errors[constraint]()
        if isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(_BUSY):
            return StoreUnavailable(f"{StoreUnavailable.default} ({error.diag.message_primary})")
        return error

    def _retry_or_fail(self, batch: list[QueuedAppend], error: Exception) -> None:
        """Queue the requests of a broken connection once more; fail those that lost two connections."""
        log.warning("append_connection_lost", requests=len(batch), error=str(error).strip())
        deadline = asyncio.get_running_loop().time() + self._retry_seconds
        for queued in reversed(batch):
            if queued.answer.done():
                continue
            queued.losses += 1
            queued.deadline = deadline
            if queued.losses > 1:
                queued.resolve(StoreUnavailable())
            else:
                self._queue.appendleft(queued)

    async def _connected(self) -> Connection | None:
        """Return the connection, reopened if it broke. If that fails, fail overdue requests and return None."""
        if self._conn is not None and not self._conn.closed:
            return self._conn
        try:
            async with asyncio.timeout(self._retry_seconds):
                self._conn = conn = await self._database.connect("append")
                await conn.execute(session_limits())
                await self._database.await_standby(conn)
        except (psycopg.Error, TimeoutError, OSError) as error:
            await self._disconnect()
            now = asyncio.get_running_loop().time()
            for queued in [q for q in self._queue if q.deadline <= now or self._closing]:
                self._queue.remove(queued)
                queued.resolve(StoreUnavailable(f"{StoreUnavailable.default} ({str(error).strip()})"))
            await asyncio.sleep(0.05)
            return None
        return conn

    async def _disconnect(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await conn.close()

    def _fail_all(self, error: Exception) -> None:
        while self._queue:
            self._queue.popleft().resolve(error)


def session_limits() -> str:
    """Return settings by which Postgres soon ends an append whose process stopped, and frees the lock.

    Within a pipeline a session counts as active even while it waits for its client: only `transaction_timeout` ends it.
    """
    limits = {
        "lock_timeout": 2,
        "statement_timeout": 5,
        "idle_in_transaction_session_timeout": 3,
        "transaction_timeout": 6,
    }
    return "; ".join(f"SET {name} = '{seconds}s'" for name, seconds in limits.items())
