"""Rebuilds read models beside the live ones while the instance works, then compares them or switches to them.

The rebuilt tables have a schema of their own. Only for the last few events the live tables are locked: inline models
by the lock of appends, a follower's tables by its checkpoint's row.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from annals.projections import inline
from annals.projections.following import FOLLOWING
from annals.projections.replay import staging_tables
from annals.projections.replay.models import FollowingModel, InlineModel, Model
from annals.projections.replay.refill import Refill, Report, rarely_collected
from annals.projections.replay.staging_tables import Comparison, TablesBusy
from annals.store.log.reader import EventReader
from annals.store.log.snapshot_check import SnapshotCheck
from annals.store.postgres.database import Connection, Database

SNAPSHOTS = "snapshots"
NAMES = (*inline.TABLES, *FOLLOWING, SNAPSHOTS)
"""The names that can be rebuilt: each inline table, each follower's model, and the snapshots of streams."""

_SWITCH_ATTEMPTS = 10
_REPLAY_LOCK = 4_105_002


class AlreadyReplaying(Exception):
    """Another replay runs in this database; there is one set of staging tables."""

    def __init__(self) -> None:
        super().__init__("Another replay runs in this database. Wait until it has ended.")


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
