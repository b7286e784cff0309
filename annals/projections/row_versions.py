"""Versions of rows: each row of projects, functions, variables, deployments and executions, from position to position.

Lists and gets of the past read them. A follower writes them in two ways. Executions, most of any log, are folded in
memory. Of everything else the inline read models' own statements run again, in staging tables with the live tables'
columns, and triggers there record each changed row. So a version is exactly the row that was served.

The staging tables are empty between transactions, and are made again when a migration changes a live table. A batch's
changes gather in a table without keys and become versions in one statement. So a row that changes hundreds of times in
a batch is looked up once.

One file because the follower, its staging tables and the versions are one mechanism.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
from psycopg.sql import SQL, Composed, Identifier, Literal

from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.project import Project
from annals.domain.retention import Retention
from annals.domain.team import Team
from annals.domain.user import User
from annals.projections import inline
from annals.projections.executions import Columns, sweep_range
from annals.projections.executions_fold import fold
from annals.projections.functions import READING_STATEMENTS
from annals.store.log.reader import RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "row_versions.sql")
TABLES = ("row_versions", "execution_versions")
FOLLOWER = "row_versions"
STAGING_SCHEMA = "annals_changes"
VERSIONED: Mapping[str, str] = {
    "projects": "project_id",
    "functions": "function_id",
    "variables": "variable_id",
    "deployments": "deployment_id",
}
"""The tables of `row_versions`, with the column that is a row's id in its project."""

OPEN_END = 2**63 - 1
"""The end of the versions of rows that exist."""

_WITHOUT_VERSIONS = (Execution.Event, Retention.Event, User.Event, Team.Event)
_LOCK = 4_105_003
_COLUMNS_BY_SHAPE: dict[str, Mapping[str, Sequence[str]]] = {}
_encode = msgspec.json.Encoder().encode


async def follow(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
    """Write the versions of a batch (the follower's handler).

    Executions and other rows are handled one after the other: neither affects the versions of the other.
    """
    for batch in _split_at_sweeps(recorded_events):
        if isinstance(batch[0].event, Retention.Event):
            await _sweep(conn, batch[0])
        else:
            await _write_executions(conn, [f for f in batch if isinstance(f.event, Execution.Event)])
    others = [recorded for recorded in recorded_events if not isinstance(recorded.event, _WITHOUT_VERSIONS)]
    if others:
        async with _staged(conn, await _scope(conn, others)):
            await _run_statements(conn, others)


def _split_at_sweeps(recorded_events: Sequence[RecordedEvent]) -> Iterator[Sequence[RecordedEvent]]:
    """Yield runs of events without a sweep, and each sweep alone."""
    start = 0
    for index, recorded_event in enumerate(recorded_events):
        if isinstance(recorded_event.event, Retention.Event):
            if index > start:
                yield recorded_events[start:index]
            yield recorded_events[index : index + 1]
            start = index + 1
    if start < len(recorded_events):
        yield recorded_events[start:]


async def _write_executions(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
    """Write the versions of executions: fold each event, and keep the row before and after it."""
    if not recorded_events:
        return
    rows = await _open_executions(conn, recorded_events)
    begun = {stream: (row.pop("from_position"), row.pop("to_position")) for stream, row in rows.items()}
    ended: list[tuple[str, int, int]] = []
    newest: dict[str, Columns] = {}
    replaced: list[Columns] = []
    counted: defaultdict[tuple[str, int], int] = defaultdict(int)
    for recorded_event in recorded_events:
        stream: str = recorded_event.event.originator_id
        fold(rows, counted, recorded_event)
        if (version := newest.pop(stream, None)) is not None:
            replaced.append({**version, "to_position": recorded_event.position})
        elif stream in begun:
            ended.append((stream, begun.pop(stream)[0], recorded_event.position))
        if stream in rows:
            newest[stream] = {**rows[stream], "from_position": recorded_event.position, "to_position": OPEN_END}
    if ended:
        streams, starts, ends = (list(column) for column in zip(*ended, strict=True))
        await conn.execute(QUERIES["end_executions"], {"streams": streams, "begun": starts, "ended": ends})
    if replaced or newest:
        await conn.execute(QUERIES["add_executions"], {"rows": _encode([*replaced, *newest.values()]).decode()})


async def _sweep(conn: Connection, recorded_event: RecordedEvent) -> None:
    """End the versions of the executions that retention removed."""
    if isinstance(recorded_event.event, Retention.ExecutionsSwept):
        params = {**sweep_range(recorded_event.event), "position": recorded_event.position}
        await conn.execute(QUERIES["sweep_executions"], params)


async def _open_executions(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> dict[str, Columns]:
    streams = {f.event.originator_id for f in recorded_events if not isinstance(f.event, Execution.Requested)}
    if not streams:
        return {}
    cursor = await conn.execute(QUERIES["open_executions"], {"streams": list(streams)}, binary=True)
    return {row["stream_id"]: row for row in await cursor.fetchall()}


async def _scope(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> dict[str, object]:
    """Return which rows the events can change, as parameters of `fill`.

    `owners` and `functions` are pairs of project and function; an empty function stands for the project's own rows.
    All rows of `projects` can change.
    """
    functions: set[tuple[str, str]] = set()
    deployments: set[tuple[str, str]] = set()
    projects: set[str] = set()
    for recorded_event in recorded_events:
        event, project = recorded_event.event, recorded_event.project
        own_id = event.originator_id.rpartition(":")[2]
        if isinstance(event, Function.Event):
            functions.add((project, own_id))
            if isinstance(event, Function.DeploymentActivated):
                deployments.add((project, event.deployment_id))  # possibly another function's deployment
        elif isinstance(event, Deployment.Event):
            deployments.add((project, own_id))  # possibly another function's row before this event
            if isinstance(event, Deployment.UploadStarted):
                functions.add((project, event.function_id))
        elif isinstance(event, Project.Event) and not isinstance(event, Project.Deleted):
            functions.add((project, ""))
        else:
            projects.add(project)
    if deployments:
        params: dict[str, object] = {
            "projects": [project for project, _ in deployments],
            "deployments": [deployment for _, deployment in deployments],
        }
        rows = await (await conn.execute(QUERIES["owners"], params)).fetchall()
        functions |= {(row["project_id"], row["function_id"]) for row in rows}
    pairs = sorted(functions)
    return {
        "owners": [project for project, _ in pairs],
        "functions": [function for _, function in pairs],
        "projects": sorted(projects),
    }


@asynccontextmanager
async def _staged(conn: Connection, scope: Mapping[str, object]) -> AsyncIterator[None]:
    """Fill the staging tables with the open versions, put them first in the search path, and keep their changes.

    The caller holds a transaction.
    """
    await conn.execute(QUERIES["lock"], {"key": _LOCK})
    shape = await _ensure_staging_tables(conn)
    row = await (await conn.execute(QUERIES["search_path"])).fetchone()
    path = "public" if row is None else row["path"]
    columns = await _columns_by_table(conn, shape)
    async with conn.pipeline():
        await conn.execute(QUERIES["set_position"], {"position": ""})
        for table in VERSIONED:
            await conn.execute(_fill(table, columns[table]), scope)
        await conn.execute(QUERIES["set_search_path"], {"path": f"{STAGING_SCHEMA}, {path}"})
    yield
    async with conn.pipeline():
        await conn.execute(QUERIES["set_position"], {"position": ""})
        await conn.execute(QUERIES["set_search_path"], {"path": path})
        await conn.execute(QUERIES["add_versions"])
        for table in (*inline.TABLES, "changes"):
            await conn.execute(SQL("DELETE FROM {}").format(Identifier(STAGING_SCHEMA, table)))


async def _run_statements(conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
    """Run the read models' statements of each event, with its position set for the triggers."""
    async with conn.pipeline():
        for recorded_event in recorded_events:
            statements = inline.project(recorded_event.event)
            if statements:
                await conn.execute(QUERIES["set_position"], {"position": str(recorded_event.position)})
            for statement in statements:
                if statement.sql not in READING_STATEMENTS:
                    await conn.execute(statement.sql, statement.params)


async def _ensure_staging_tables(conn: Connection) -> str:
    """Create the staging tables if they are missing or differ from the live ones. Return the digest of their shape."""
    params = {"tables": list(inline.TABLES), "schema": STAGING_SCHEMA}
    shapes = await (await conn.execute(QUERIES["shapes"], params)).fetchone()
    if shapes is None:
        raise ValueError("the live tables have no shape")
    live: str = shapes["live"]
    if live == shapes["staging"]:
        return live
    schema = Identifier(STAGING_SCHEMA)
    await conn.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))
    await conn.execute(SQL("CREATE SCHEMA {}").format(schema))
    for table in inline.TABLES:
        like = "CREATE UNLOGGED TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING INDEXES)"
        await conn.execute(SQL(like).format(Identifier(STAGING_SCHEMA, table), Identifier("public", table)))
    await conn.execute(SQL(QUERIES["create_changes"]).format(schema=schema))
    await conn.execute(SQL(QUERIES["create_trigger_function"]).format(schema=schema))
    for table, own_id in VERSIONED.items():
        trigger = SQL(QUERIES["create_trigger"]).format(
            schema=schema, table=Identifier(table), own_id=Literal(own_id)
        )  # fmt: skip
        await conn.execute(trigger)
        await _add_defaults(conn, table)
    return live


async def _add_defaults(conn: Connection, table: str) -> None:
    """Give older versions the defaults of columns that a migration added, as the live rows got them."""
    pairs = [
        SQL("{}, {}").format(Literal(name), SQL(expression))
        for name, expression in (await _columns(conn, table)).items()
        if expression is not None
    ]
    update = SQL(QUERIES["add_defaults"])
    await conn.execute(update.format(defaults=SQL(", ").join(pairs), kind=Literal(table)))


def _fill(table: str, columns: Sequence[str]) -> Composed:
    return SQL(QUERIES["fill"]).format(
        staging=Identifier(STAGING_SCHEMA, table),
        live=Identifier("public", table),
        columns=SQL(", ").join(Identifier(name) for name in columns),
        images=SQL(", ").join(Identifier("image", name) for name in columns),
        kind=Literal(table),
    )


async def _columns_by_table(conn: Connection, shape: str) -> Mapping[str, Sequence[str]]:
    """Return the columns to fill by table, cached for as long as the shape stays."""
    if shape not in _COLUMNS_BY_SHAPE:
        _COLUMNS_BY_SHAPE[shape] = {table: list(await _columns(conn, table)) for table in VERSIONED}
    return _COLUMNS_BY_SHAPE[shape]


async def _columns(conn: Connection, table: str) -> dict[str, str | None]:
    rows = await (await conn.execute(QUERIES["defaults"], {"table": f"public.{table}"})).fetchall()
    return {row["name"]: row["expression"] for row in rows}
