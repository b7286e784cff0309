"""Group append: what all callers of a process wait to record shares one transaction, one trip and one fsync.

Why this shape and no other: docs/adr/0006-group-append.md.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping

import psycopg
import structlog
from psycopg import errors as pg

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
from annals.store.log.batches import QueuedAppend, take
from annals.store.log.request import Appended, AppendRequest, measure
from annals.store.postgres.database import Connection, Database
from annals.store.postgres.standby import barrier

PIPELINE_SECONDS = 10.0
"""Longest that a batch may take, waiting for the lock included, before its connection is given up.

One that waits for a standby is not: its session would wait on, and another with every new connection.
"""

_BUSY = ("53", "40", "55P03", "57014", "25006")
"""SQLSTATEs that pass by themselves: no resources, deadlocks, timeouts, a standby."""

log = structlog.get_logger(__name__)


class GroupAppender:
    """One per process: a task on the loop with a connection of its own."""

    def __init__(
        self,
        database: Database,
        constraint_errors: Mapping[str, type[DomainError]] | None = None,
        *,
        retry_seconds: float = 3.0,
    ) -> None:
        """`refusals` maps a read model's constraint to what its violation means; `patience` is in seconds."""
        self._database, self._constraint_errors, self._retry_seconds = database, constraint_errors or {}, retry_seconds
        self._queue: deque[QueuedAppend] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._conn: Connection | None = None
        self._in_flight: list[QueuedAppend] = []
        self._limit: asyncio.Timeout | None = None
        database.standby.tell(self._standby_changed)
        self._task = asyncio.get_running_loop().create_task(self._work(), name="group-append")

    async def append(self, request: AppendRequest) -> Appended:
        """Record all of a request or nothing; returns after the commit, never before.

        Raises StreamConflict, ProjectReplaced, DataKeyReplaced, the refusal of a read model's key, RequestTooLarge,
        StoreUnavailable (StandbyAway at once where it is known), or what Postgres said of a statement that fails for
        other reasons.
        """
        size = measure(request)
        if self._closing:
            raise StoreUnavailable("The event store is closing.")
        if self._database.standby.away:
            raise StandbyAway
        loop = asyncio.get_running_loop()
        waiting = QueuedAppend(request, size, loop.time() + self._retry_seconds, loop.create_future())
        self._queue.append(waiting)
        self._arrived.set()
        return await waiting.answer

    async def attempt(self, request: AppendRequest) -> Appended:
        """What recording a request would give, and nothing of it is recorded; positions are spent, which leaves a gap.

        Raises as `append`.
        """
        measure(request)
        async with self._database.connection() as conn:
            return await append_modes.attempt(conn, request, self._meaning)

    async def close(self) -> None:
        """Record what waits, then let go of the connection. What waits for a standby that is away is not waited for."""
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
                    if conn is not None and (batch := take(self._queue)):
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
            async with asyncio.timeout(PIPELINE_SECONDS) as self._limit:
                with self._database.standby.watching(conn, ends=False):
                    outcomes = await self._pipeline(conn, batch)
        except Exception as error:
            if not (conn.closed or isinstance(error, TimeoutError | psycopg.OperationalError)):
                log.exception("append_failed", requests=len(batch))
            await self._disconnect()
            self._lost(batch, error)
        else:
            for waiting, outcome in zip(batch, outcomes, strict=True):
                waiting.resolve(outcome)
        finally:
            self._in_flight, self._limit = [], None

    def _standby_changed(self) -> None:
        """Nobody waits for a standby that is away: only the batch itself does, for as long as it takes.

        To end its wait would show its events, which a failover may forget, to all who follow the log.
        """
        away, limit = self._database.standby.away, self._limit
        now = asyncio.get_running_loop().time()
        if away:
            for waiting in (*self._in_flight, *self._queue):
                waiting.resolve(StandbyAway())
            self._queue.clear()
        if limit is not None and not limit.expired():
            limit.reschedule(now + PIPELINE_SECONDS if not away else now if self._closing else None)

    async def _pipeline(self, conn: Connection, batch: list[QueuedAppend]) -> list[append_modes.Outcome]:
        outcomes = await self._outcomes(conn, [waiting.request for waiting in batch])
        for index, waiting in enumerate(batch):
            if waiting.losses and isinstance(outcomes[index], StreamConflict | NoFreeSlot):
                outcomes[index] = await self._or_own(conn, waiting, outcomes[index])
        return outcomes

    async def _outcomes(self, conn: Connection, requests: list[AppendRequest]) -> list[append_modes.Outcome]:
        placed = any(request.place for request in requests)
        try:
            return await (append_modes.within_places if placed else append_modes.together)(conn, requests)
        except pg.ReadOnlySqlTransaction:
            await conn.close()  # a primary that became a standby: another host has taken its place
            raise
        except Exception as error:
            if conn.closed:
                raise
            await conn.rollback()
            on_stream = _constraint(error) == append_modes.STREAM_KEY
        if on_stream and not placed:
            try:
                return await append_modes.without_losers(conn, requests)
            except Exception:
                if conn.closed:
                    raise
                await conn.rollback()
        return await append_modes.one_by_one(conn, requests, self._meaning)

    async def _or_own(
        self, conn: Connection, waiting: QueuedAppend, told: append_modes.Outcome
    ) -> append_modes.Outcome:
        """A request sent before over a connection that broke may have met its own events, not another's.

        Those may be flushed here alone, their wait for the standby having ended with the connection.
        """
        found = await append_modes.stored(conn, waiting.request)
        if found is None:
            return told
        await barrier(conn)
        returning = any(statement.table for statement in waiting.request.statements)
        return AnswerLost() if returning else found

    def _meaning(self, error: Exception) -> Exception:
        constraint = _constraint(error)
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

    def _lost(self, batch: list[QueuedAppend], error: Exception) -> None:
        """The connection broke with a batch in flight: try once more, and give up after a second time."""
        log.warning("append_connection_lost", requests=len(batch), error=str(error).strip())
        deadline = asyncio.get_running_loop().time() + self._retry_seconds
        for waiting in reversed(batch):
            if waiting.answer.done():
                continue
            waiting.losses += 1
            waiting.deadline = deadline
            if waiting.losses > 1:
                waiting.resolve(StoreUnavailable())
            else:
                self._queue.appendleft(waiting)

    async def _connected(self) -> Connection | None:
        """The connection, made anew when it broke; None after a failed try, with overdue requests answered."""
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
            for waiting in [w for w in self._queue if w.deadline <= now or self._closing]:
                self._queue.remove(waiting)
                waiting.resolve(StoreUnavailable(f"{StoreUnavailable.default} ({str(error).strip()})"))
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


def _constraint(error: Exception) -> str | None:
    return error.diag.constraint_name if isinstance(error, pg.IntegrityError) else None


def session_limits() -> str:
    """Server-side ends, so that a process that stops in mid-append never keeps the others from the lock for long.

    Within a pipeline a session counts as active even while it waits for us: there only the transaction's limit holds.
    """
    limits = {
        "lock_timeout": 2,
        "statement_timeout": 5,
        "idle_in_transaction_session_timeout": 3,
        "transaction_timeout": 6,
    }
    return "; ".join(f"SET {name} = '{seconds}s'" for name, seconds in limits.items())
