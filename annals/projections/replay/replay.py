"""Rebuilds read models beside the live ones while the instance works, then compares them or switches to them.

The rebuilt tables have a schema of their own. Only for the last few events the live tables are locked: inline models
by the lock of appends, a follower's tables by its checkpoint's row.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from annals.domain.execution import Execution
from annals.domain.retention import Retention
from annals.projections import inline
from annals.projections.following import FOLLOWING, Following
from annals.projections.replay import batches, staging_tables
from annals.projections.replay.refill import Apply, Refill, Report, rarely_collected
from annals.projections.replay.staging_tables import Comparison, TablesBusy
from annals.store.log.append_modes import LOCK
from annals.store.log.follower import QUERIES as CHECKPOINTS
from annals.store.log.reader import QUERIES as EVENTS
from annals.store.log.reader import EventReader, RecordedEvent
from annals.store.log.snapshot_check import SnapshotCheck
from annals.store.postgres.database import Connection, Database

SNAPSHOTS = "snapshots"
NAMES = (*inline.TABLES, *FOLLOWING, SNAPSHOTS)
"""The names that can be rebuilt: each inline table, each follower's model, and the snapshots of streams."""

_SWITCH_ATTEMPTS = 10
_REPLAY_LOCK = 4_105_002
_LOCK_TIMEOUT_MS = 1000
_LOCK_CHECKPOINT = "SELECT position FROM checkpoints WHERE name = %(name)s FOR UPDATE"
_EXECUTION_TABLES = frozenset({"executions", "counters"})


class AlreadyReplaying(Exception):
    """Another replay runs in this database; there is one set of staging tables."""

    def __init__(self) -> None:
        super().__init__("Another replay runs in this database. Wait until it has ended.")


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
        return await _position(conn, EVENTS["newest"])

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
        return await _position(conn, CHECKPOINTS["position"], self.name)

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
                await conn.execute(CHECKPOINTS["move"], {"name": self.name, "position": refill.position})
        except TablesBusy:
            refill.position = filled  # the transaction rolled the last batches back
            raise

    async def _lock(self, conn: Connection) -> int:
        await conn.execute(CHECKPOINTS["add"], {"name": self.name})
        return await _position(conn, _LOCK_CHECKPOINT, self.name)


async def _position(conn: Connection, query: str, name: str = "") -> int:
    row = await (await conn.execute(query, {"name": name})).fetchone()
    return 0 if row is None else int(row["position"])


async def check(
    database: Database, reader: EventReader, names: Collection[str] = NAMES, *, report: Report
) -> list[Comparison]:
    """Rebuild models, and compare each with its live one at the same position. The live ones stay.

    Each snapshot is compared with a fold of its stream's events.

    Raises AlreadyReplaying, ValueError for a name that is not in NAMES, StoreUnavailable, psycopg's errors.
    """
    found: list[Comparison] = []
    async with _connection(database) as conn:
        for model, tables in _models(database, names):
            refill = await _begin(conn, reader, model, report)
            await refill.near(lambda model=model: model.reached(conn))  # type: ignore[misc]
            found += await model.compare(conn, refill, tables)
            await staging_tables.drop(conn)
    if SNAPSHOTS in names:
        found.append(await _snapshots_compared(database, reader))
    return found


async def rebuild(
    database: Database, reader: EventReader, names: Collection[str] = NAMES, *, report: Report
) -> Sequence[str]:
    """Rebuild models, replace the live ones, and return the switched tables.

    Snapshots that differ from their events are deleted. New ones are taken as the streams grow.

    Raises as `check`, and TablesBusy if long reads blocked every attempt; then the live tables stay.
    """
    switched: list[str] = []
    async with _connection(database) as conn:
        for model, tables in _models(database, names):
            refill = await _begin(conn, reader, model, report)
            await refill.near(refill.newest)
            await staging_tables.analyze(conn, tables)
            for attempts_left in range(_SWITCH_ATTEMPTS - 1, -1, -1):
                await refill.near(refill.newest)
                try:
                    await model.switch(conn, refill, tables)
                    break
                except TablesBusy:
                    if not attempts_left:
                        raise
            await staging_tables.drop(conn)
            switched += tables
    if SNAPSHOTS in names:
        await SnapshotCheck(database, reader.mapper).mend()
        switched.append(SNAPSHOTS)
    return switched


async def _snapshots_compared(database: Database, reader: EventReader) -> Comparison:
    check = SnapshotCheck(database, reader.mapper)
    altered = [f"{found.stream} at version {found.version} {found.detail}" for found in await check.run()]
    return Comparison(SNAPSHOTS, check.read, check.read, altered[: staging_tables.SAMPLES], ())


def _models(database: Database, names: Collection[str]) -> list[tuple[Model, Sequence[str]]]:
    """Return the models to fill, each with its wanted tables."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise ValueError(f"There is no projection {unknown[0]!r}. Name one of {', '.join(NAMES)}.")
    models: list[tuple[Model, Sequence[str]]] = []
    if tables := [table for table in inline.TABLES if table in names]:
        models.append((InlineModel(database, tables), tables))
    models += [
        (FollowingModel(name, following), following.tables) for name, following in FOLLOWING.items() if name in names
    ]
    return models


async def _begin(conn: Connection, reader: EventReader, model: Model, report: Report) -> Refill:
    await staging_tables.create(conn, model.tables)
    return Refill(conn, reader, model.name, model.filling, report)


@asynccontextmanager
async def _connection(database: Database) -> AsyncIterator[Connection]:
    """Open a connection for the replay. On exit the staging tables are dropped."""
    conn = await database.connect("replay")
    try:
        await conn.execute("SET synchronous_commit = off")  # only the switch must be durable
        row = await (await conn.execute("SELECT pg_try_advisory_lock(%s) AS held", (_REPLAY_LOCK,))).fetchone()
        if row is None or not row["held"]:
            raise AlreadyReplaying
        try:
            with rarely_collected():
                yield conn
        finally:
            if not conn.closed:
                await conn.rollback()
                await staging_tables.drop(conn)
    finally:
        await conn.close()
