"""Tables beside the live ones: the same columns, keys and indexes under the same names, in a schema of their own."""

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
    """Long reads kept the tables from being switched; the rebuilt ones are dropped, try again."""


class Comparison(NamedTuple):
    """One table, live and rebuilt at the same position: rows of each, and samples of rows that only one has."""

    table: str
    live: int
    rebuilt: int
    only_live: Sequence[str]
    only_rebuilt: Sequence[str]

    @property
    def same(self) -> bool:
        return not self.only_live and not self.only_rebuilt and self.live == self.rebuilt


async def create(conn: Connection, tables: Iterable[str]) -> None:
    """Make empty shadows of live tables and let the connection write to them by their plain names."""
    await drop(conn)
    async with conn.transaction():
        await conn.execute(SQL("CREATE SCHEMA {}").format(Identifier(SCHEMA)))
        for table in tables:
            await _copy(conn, table)
    await conn.execute(SQL("SET search_path = {}, {}").format(Identifier(SCHEMA), Identifier(_LIVE)))


async def drop(conn: Connection) -> None:
    """Remove the shadows, those of a rebuild that was broken off included."""
    for schema in (SCHEMA, _FORMER):
        await conn.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema)))


async def analyze(conn: Connection, tables: Iterable[str]) -> None:
    """Tell the planner what was filled, before queries meet it."""
    for table in tables:
        await conn.execute(SQL("ANALYZE {}").format(Identifier(SCHEMA, table)))


async def switch(conn: Connection, tables: Iterable[str], *, lock_timeout_ms: int) -> None:
    """Put shadows in the place of live tables, within the caller's transaction.

    Raises TablesBusy when a table is not free within the patience: its readers queue up meanwhile, so it is short.
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
        raise TablesBusy(f"The tables {', '.join(tables)} are busy with long reads.") from error


async def compare(conn: Connection, table: str) -> Comparison:
    """Live against rebuilt, in the snapshot that the connection's transaction has."""
    live, rebuilt = Identifier(_LIVE, table), Identifier(SCHEMA, table)
    (one, one_sum), (other, other_sum) = await _checksum(conn, live), await _checksum(conn, rebuilt)
    if (one, one_sum) == (other, other_sum):
        return Comparison(table, one, other, (), ())
    return Comparison(table, one, other, await _only(conn, live, rebuilt), await _only(conn, rebuilt, live))


async def _copy(conn: Connection, table: str) -> None:
    live, made = Identifier(_LIVE, table), Identifier(SCHEMA, table)
    like = "CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE INCLUDING COMMENTS)"
    await conn.execute(SQL(like).format(made, live))
    name = {"table": f"{_LIVE}.{table}"}
    for row in await (await conn.execute(QUERIES["columns_kept"], name)).fetchall():
        await conn.execute(SQL("ALTER TABLE {} SET ({})").format(made, _of_catalog(row["options"])))
    for row in await (await conn.execute(QUERIES["constraints"], name)).fetchall():
        constraint = SQL("ALTER TABLE {} ADD CONSTRAINT {} {}")
        definition = _of_catalog(row["definition"])
        await conn.execute(constraint.format(made, Identifier(row["name"]), definition))
    for row in await (await conn.execute(QUERIES["indexes"], name)).fetchall():
        definition = row["definition"].replace(f" ON {_LIVE}.{table} ", f" ON {SCHEMA}.{table} ", 1)
        await conn.execute(_of_catalog(definition))


def _of_catalog(text: str) -> SQL:
    """What Postgres itself wrote of a table's shape."""
    return SQL(text)


def _moved(table: str, source: str, target: str) -> Composed:
    return SQL("ALTER TABLE {} SET SCHEMA {}").format(Identifier(source, table), Identifier(target))


async def _checksum(conn: Connection, table: Identifier) -> tuple[int, int]:
    """Rows, and a sum over them that no order changes."""
    sums = "SELECT count(*) AS rows, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) AS total FROM {} t"
    row = await (await conn.execute(SQL(sums).format(table))).fetchone()
    if row is None:
        raise ValueError(f"{table} has no checksum")
    return row["rows"], int(row["total"])


async def _only(conn: Connection, table: Identifier, other: Identifier) -> list[str]:
    rows = SQL("SELECT t::text AS row FROM {} t EXCEPT SELECT o::text FROM {} o LIMIT {}").format(table, other, SAMPLES)
    return [row["row"] for row in await (await conn.execute(rows)).fetchall()]
