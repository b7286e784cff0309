"""Staging tables of a rebuild: the live tables' columns, keys and indexes, in a schema of their own."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "staging_tables.sql")
SCHEMA = "annals_replay"
_FORMER = "annals_replaced"
_LIVE = "public"
SAMPLES = 3


class TablesBusy(Exception):
    """Long reads blocked the switch. The rebuilt tables are dropped; the caller can try again."""


class Comparison(NamedTuple):
    """A table, live and rebuilt at the same position: the number of rows, and samples of rows that only one has."""

    table: str
    live: int
    rebuilt: int
    only_live: Sequence[str]
    only_rebuilt: Sequence[str]

    @property
    def same(self) -> bool:
        return not self.only_live and not self.only_rebuilt and self.live == self.rebuilt


async def create(conn: Connection, tables: Iterable[str]) -> None:
    """Create empty staging tables, and put them first in the connection's search path."""
    await drop(conn)
    async with conn.transaction():
        await conn.execute(SQL("CREATE SCHEMA {}").format(Identifier(SCHEMA)))
        for table in tables:
            await _copy(conn, table)
    await conn.execute(SQL("SET search_path = {}, {}").format(Identifier(SCHEMA), Identifier(_LIVE)))


async def drop(conn: Connection) -> None:
    """Drop the staging tables, also those of an interrupted rebuild."""
    for schema in (SCHEMA, _FORMER):
        await conn.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema)))


async def analyze(conn: Connection, tables: Iterable[str]) -> None:
    """Collect the planner's statistics before queries use the tables."""
    for table in tables:
        await conn.execute(SQL("ANALYZE {}").format(Identifier(SCHEMA, table)))


async def switch(conn: Connection, tables: Iterable[str], *, lock_timeout_ms: int) -> None:
    """Replace live tables by their staging tables, within the caller's transaction.

    Raises TablesBusy if a lock is not free within the time-out. It is short, since readers queue behind the lock.
    """
    await conn.execute(SQL("SET LOCAL lock_timeout = {}").format(lock_timeout_ms))
    await conn.execute("SET LOCAL synchronous_commit = on")
    await conn.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(_FORMER)))
    try:
        for table in tables:
            await conn.execute(_moved(table, _LIVE, _FORMER))
            await conn.execute(_moved(table, SCHEMA, _LIVE))
        await conn.execute("SELECT analytics_views()")
    except psycopg.errors.LockNotAvailable as error:
        raise TablesBusy(f"Long reads block the tables {', '.join(tables)}. Try again.") from error


async def compare(conn: Connection, table: str) -> Comparison:
    """Compare live and rebuilt rows, in the snapshot of the connection's transaction."""
    live, rebuilt = Identifier(_LIVE, table), Identifier(SCHEMA, table)
    live_rows, live_sum = await _checksum(conn, live)
    rebuilt_rows, rebuilt_sum = await _checksum(conn, rebuilt)
    if (live_rows, live_sum) == (rebuilt_rows, rebuilt_sum):
        return Comparison(table, live_rows, rebuilt_rows, (), ())
    only_live = await _only(conn, live, rebuilt)
    return Comparison(table, live_rows, rebuilt_rows, only_live, await _only(conn, rebuilt, live))


async def _copy(conn: Connection, table: str) -> None:
    live, made = Identifier(_LIVE, table), Identifier(SCHEMA, table)
    like = "CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE INCLUDING COMMENTS)"
    await conn.execute(SQL(like).format(made, live))
    name = {"table": f"{_LIVE}.{table}"}
    for row in await (await conn.execute(QUERIES["storage_options"], name)).fetchall():
        await conn.execute(SQL("ALTER TABLE {} SET ({})").format(made, _trusted(row["options"])))
    for row in await (await conn.execute(QUERIES["constraints"], name)).fetchall():
        constraint = SQL("ALTER TABLE {} ADD CONSTRAINT {} {}")
        definition = _trusted(row["definition"])
        await conn.execute(constraint.format(made, Identifier(row["name"]), definition))
    for row in await (await conn.execute(QUERIES["indexes"], name)).fetchall():
        definition = row["definition"].replace(f" ON {_LIVE}.{table} ", f" ON {SCHEMA}.{table} ", 1)
        await conn.execute(_trusted(definition))


def _trusted(text: str) -> SQL:
    """Return SQL that Postgres itself wrote, from its catalog."""
    return SQL(text)


def _moved(table: str, source: str, target: str) -> Composed:
    return SQL("ALTER TABLE {} SET SCHEMA {}").format(Identifier(source, table), Identifier(target))


async def _checksum(conn: Connection, table: Identifier) -> tuple[int, int]:
    """Return the number of rows, and a sum over them that does not depend on their order."""
    sums = "SELECT count(*) AS rows, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) AS total FROM {} t"
    row = await (await conn.execute(SQL(sums).format(table))).fetchone()
    if row is None:
        raise ValueError(f"{table} has no checksum")
    return row["rows"], int(row["total"])


async def _only(conn: Connection, table: Identifier, other: Identifier) -> list[str]:
    rows = SQL("SELECT t::text AS row FROM {} t EXCEPT SELECT o::text FROM {} o LIMIT {}").format(table, other, SAMPLES)
    return [row["row"] for row in await (await conn.execute(rows)).fetchall()]
