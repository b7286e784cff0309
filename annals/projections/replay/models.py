"""The two kinds of read models in a replay: how each is locked, compared and switched."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from annals.domain.execution import Execution
from annals.domain.retention import Retention
from annals.projections import inline
from annals.projections.following import Following
from annals.projections.replay import batches, staging_tables
from annals.projections.replay.refill import Apply, Refill
from annals.projections.replay.staging_tables import Comparison, TablesBusy
from annals.store.log.append_modes import LOCK
from annals.store.log.reader import RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection, Database

QUERIES = sql.load(__package__, "models.sql")
_EXECUTION_TABLES = frozenset({"executions", "counters"})
_LOCK_TIMEOUT_MS = 1000


class Model(Protocol):
    """Tables that a replay fills together."""

    @property
    def name(self) -> str: ...

    @property
    def tables(self) -> Sequence[str]: ...

    def filling(self, conn: Connection) -> AbstractAsyncContextManager[Apply]: ...

    async def reached(self, conn: Connection) -> int:
        """The position of the live tables."""
        ...

    async def compare(self, conn: Connection, refill: Refill, tables: Sequence[str]) -> list[Comparison]:
        """Fill the rest, and compare at one position."""
        ...

    async def switch(self, conn: Connection, refill: Refill, tables: Sequence[str]) -> None:
        """Fill the rest, and replace the live tables. Raises TablesBusy."""
        ...


class InlineModel:
    """The inline tables: they depend on each other, and the lock of appends holds them still."""

    name = "inline"
    tables = inline.TABLES

    def __init__(self, database: Database, wanted: Sequence[str]) -> None:
        self._database = database
        self._all = not _EXECUTION_TABLES.isdisjoint(wanted)

    @asynccontextmanager
    async def filling(self, conn: Connection) -> AsyncIterator[Apply]:
        """Skip executions, most of any log, unless a table that they change is wanted."""
        async with batches.filling(conn) as apply:

            async def apply_others(recorded_events: Sequence[RecordedEvent]) -> None:
                await apply([f for f in recorded_events if not isinstance(f.event, Execution.Event | Retention.Event)])

            yield apply if self._all else apply_others

    async def reached(self, conn: Connection) -> int:
        return await _position(conn, "newest")

    async def compare(self, conn: Connection, refill: Refill, tables: Sequence[str]) -> list[Comparison]:
        """Compare in a snapshot that begins when both are at one position. So no append waits for the comparison."""
        comparing = await self._database.connect("compare")
        try:
            async with self._appends_locked(conn):
                await refill.to(await self.reached(conn))
                await comparing.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                await comparing.execute("SELECT FROM events LIMIT 1")
            return [await staging_tables.compare(comparing, table) for table in tables]
        finally:
            await comparing.close()

    async def switch(self, conn: Connection, refill: Refill, tables: Sequence[str]) -> None:
        async with self._appends_locked(conn):
            await refill.to(await self.reached(conn))
            async with conn.transaction():
                await staging_tables.switch(conn, tables, lock_timeout_ms=_LOCK_TIMEOUT_MS)

    @asynccontextmanager
    async def _appends_locked(self, conn: Connection) -> AsyncIterator[None]:
        await conn.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        try:
            yield
        finally:
            await conn.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


class FollowingModel:
    """A follower's tables; a lock on its checkpoint's row holds them still."""

    def __init__(self, name: str, following: Following) -> None:
        self.name, self.tables = name, following.tables
        self._handle = following.handle if following.refilling is None else following.refilling()

    @asynccontextmanager
    async def filling(self, conn: Connection) -> AsyncIterator[Apply]:
        """Apply each batch in its own transaction."""

        async def apply(recorded_events: Sequence[RecordedEvent]) -> None:
            async with conn.transaction():
                await self._handle(conn, recorded_events)

        yield apply

    async def reached(self, conn: Connection) -> int:
        return await _position(conn, "booked", self.name)

    async def compare(self, conn: Connection, refill: Refill, tables: Sequence[str]) -> list[Comparison]:
        async with conn.transaction():
            await refill.to(await self._lock(conn))
            return [await staging_tables.compare(conn, table) for table in tables]

    async def switch(self, conn: Connection, refill: Refill, tables: Sequence[str]) -> None:
        """Switch the tables, and move the follower to their position, which may be ahead of its former one."""
        filled = refill.position
        try:
            async with conn.transaction():
                await self._lock(conn)
                await refill.to(await refill.newest())
                await staging_tables.switch(conn, tables, lock_timeout_ms=_LOCK_TIMEOUT_MS)
                await conn.execute(QUERIES["move"], {"name": self.name, "position": refill.position})
        except TablesBusy:
            refill.position = filled  # the transaction rolled the last batches back
            raise

    async def _lock(self, conn: Connection) -> int:
        await conn.execute(QUERIES["add"], {"name": self.name})
        return await _position(conn, "lock", self.name)


async def _position(conn: Connection, query: str, name: str = "") -> int:
    row = await (await conn.execute(QUERIES[query], {"name": name})).fetchone()
    return 0 if row is None else int(row["position"])
