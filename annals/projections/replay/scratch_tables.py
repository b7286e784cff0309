"""Scratch tables: copies of the inline read models' shapes in which a follower lets their statements run once more.

They are empty between transactions. Triggers on them keep every change as a version of its row, so that what was
served is told by the very statements that served it. When a migration changes a live table, they are made anew.

Changes gather in a table without keys, and become versions in one statement a batch: a row that changes hundreds of
times in a batch would otherwise be looked for among all that it was before, each time.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from itertools import groupby

from psycopg.sql import SQL, Composed, Identifier, Literal

from annals.projections import inline
from annals.store.log.request import Statement
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "scratch_tables.sql")
SCHEMA = "annals_changes"
VERSIONED: Mapping[str, str] = {
    "projects": "project_id",
    "functions": "function_id",
    "variables": "variable_id",
    "deployments": "deployment_id",
}
"""The tables whose rows are kept, with the column that is a row's id in its project."""

_LOCK = 4_105_003
_SHAPES: dict[str, Mapping[str, Sequence[str]]] = {}


class Scope:
    """Which rows a batch may touch: of functions by project and id (no id: the project's own), and of projects."""

    def __init__(self, functions: Sequence[tuple[str, str]], projects: Sequence[str]) -> None:
        self.params: dict[str, object] = {
            "owners": [project for project, _ in functions],
            "functions": [function for _, function in functions],
            "projects": list(projects),
        }


@asynccontextmanager
async def filled(conn: Connection, scope: Scope) -> AsyncIterator[None]:
    """Within the caller's transaction: fill the scratch tables with open versions, and look for tables there first.

    What `run` changes of them meanwhile is kept as versions in the end.
    """
    await conn.execute(QUERIES["lock"], {"key": _LOCK})
    shape = await _make(conn)
    row = await (await conn.execute(QUERIES["search_path"])).fetchone()
    path = "public" if row is None else row["path"]
    columns = await _columns_of(conn, shape)
    async with conn.pipeline():
        await conn.execute(QUERIES["work_at"], {"position": ""})
        for table in VERSIONED:
            await conn.execute(_fill(table, columns[table]), scope.params)
        await conn.execute(QUERIES["look_in"], {"path": f"{SCHEMA}, {path}"})
        await conn.execute(QUERIES["work_at"], {"position": "0"})
    yield
    async with conn.pipeline():
        await conn.execute(QUERIES["work_at"], {"position": ""})
        await conn.execute(QUERIES["look_in"], {"path": path})
        await conn.execute(QUERIES["keep"])
        for table in (*inline.TABLES, "changes"):
            await conn.execute(SQL("DELETE FROM {}").format(Identifier(SCHEMA, table)))


async def run(conn: Connection, statements: Iterable[tuple[int, Statement]]) -> None:
    """Let statements change the scratch tables, each at its position; those that only read are left out."""
    writing = ((at, statement) for at, statement in statements if not statement.sql.startswith("SELECT "))
    async with conn.pipeline():
        for text, group in groupby(writing, key=lambda one: one[1].sql):
            params = [{**statement.params, "annals_position": str(at)} for at, statement in group]
            async with conn.cursor() as cursor:
                await cursor.executemany(_placed(text), params)


@cache
def _placed(text: str) -> str:
    """A statement that also says at which position it works, before any trigger of it asks.

    Two statements would cost twice the trips, and no statement could be run for many positions at once.
    """
    places = f"WITH placed AS ({QUERIES['placed'].replace('{schema}', SCHEMA)})"
    return f"{places}, {text[5:]}" if text.startswith("WITH ") else f"{places} {text}"


async def _make(conn: Connection) -> str:
    """Make the tables when they are missing or no longer like the live ones; the digest of their shape."""
    shapes = await (await conn.execute(QUERIES["shapes"], {"tables": list(inline.TABLES), "schema": SCHEMA})).fetchone()
    if shapes is None:
        raise ValueError("the live tables have no shape")
    live: str = shapes["live"]
    if live == shapes["scratch"]:
        return live
    await conn.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(SCHEMA)))
    await conn.execute(SQL("CREATE SCHEMA {}").format(Identifier(SCHEMA)))
    for table in inline.TABLES:
        like = "CREATE UNLOGGED TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING INDEXES)"
        await conn.execute(SQL(like).format(Identifier(SCHEMA, table), Identifier("public", table)))
    for name in ("make_changes", "make_keeper"):
        await conn.execute(SQL(QUERIES[name]).format(schema=Identifier(SCHEMA)))
    for table, own_id in VERSIONED.items():
        trigger = SQL(QUERIES["make_trigger"]).format(
            schema=Identifier(SCHEMA), table=Identifier(table), own_id=Literal(own_id)
        )
        await conn.execute(trigger)
        await _complete(conn, table)
    return live


async def _complete(conn: Connection, table: str) -> None:
    """Give versions from before a migration the defaults of the columns that it added, as live rows got them."""
    pairs = [
        SQL("{}, {}").format(Literal(name), SQL(expression))
        for name, expression in (await _columns(conn, table)).items()
        if expression is not None
    ]
    update = (
        "UPDATE public.row_versions v SET image = defaults.image || v.image"
        " FROM (SELECT jsonb_build_object({}) AS image) AS defaults"
        " WHERE v.kind = {} AND NOT v.image ?& ARRAY(SELECT jsonb_object_keys(defaults.image))"
    )
    await conn.execute(SQL(update).format(SQL(", ").join(pairs), Literal(table)))


def _fill(table: str, columns: Sequence[str]) -> Composed:
    return SQL(QUERIES["fill"]).format(
        scratch=Identifier(SCHEMA, table),
        live=Identifier("public", table),
        columns=SQL(", ").join(Identifier(name) for name in columns),
        images=SQL(", ").join(Identifier("image", name) for name in columns),
        kind=Literal(table),
    )


async def _columns_of(conn: Connection, shape: str) -> Mapping[str, Sequence[str]]:
    """The columns to fill by table; they are the same as long as the shape is."""
    if shape not in _SHAPES:
        _SHAPES[shape] = {table: list(await _columns(conn, table)) for table in VERSIONED}
    return _SHAPES[shape]


async def _columns(conn: Connection, table: str) -> dict[str, str | None]:
    rows = await (await conn.execute(QUERIES["defaults"], {"table": f"public.{table}"})).fetchall()
    return {row["name"]: row["expression"] for row in rows}
