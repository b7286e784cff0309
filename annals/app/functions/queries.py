"""Queries that read functions, live or as they were at a moment."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from annals.app.as_of.rows import (
    LIVE,
    Tables,
    look_up_function,
    past_function,
    require_function,
    total_of_functions,
    variables_column,
)
from annals.app.edge.call import Call
from annals.app.edge.negotiation import ApiVersion
from annals.app.errors import QueryInvalid
from annals.app.functions import schemas
from annals.app.queries.page import Page, QueryFilter
from annals.app.queries.reading import Columns, PageRows, read_cached, read_page
from annals.app.queries.schema import boolean, date, integer, schema, text
from annals.app.queries.statements import Listing, all_of, listing, search
from annals.app.reads import Lookup
from annals.app.variables.queries import open_variables
from annals.app.wire import encode, joined
from annals.store.postgres import sql
from annals.store.postgres.database import Row

QUERIES = sql.load(__package__, "queries.sql")
WHOLE = Lookup(QUERIES["functions"].format(vars=QUERIES["vars"]), 2)

SEARCHED = "function_id || ' ' || name || ' ' || runtime"
_NEXT, _PREVIOUS = (
    f"(SELECT {column} FROM schedules WHERE schedules.stream_id = functions.stream_id)"  # noqa: S608
    for column in ("schedule_next", "schedule_previous")
)
LIST = schema(
    "functions",
    "function_id",
    "Function",
    name=text("name"),
    enabled=boolean("enabled"),
    runtime=text("runtime"),
    deploymentId=text("deployment_id"),
    schedule=text("schedule"),
    scheduleNext=date(_NEXT, nullable=True),
    schedulePrevious=date(_PREVIOUS, nullable=True),
    timeout=integer("timeout"),
    entrypoint=text("entrypoint"),
    commands=text("commands"),
    installationId=text("installation_id"),
)
FORMER_LIST = LIST._replace(attributes={**LIST.attributes, "deployment": LIST.attributes["deploymentId"]})
"""The list's schema before 1.7, which has another name for `deploymentId`."""

_LIVE_ONLY = frozenset({"scheduleNext", "schedulePrevious"})
"""Attributes of the present alone: past states have no times of schedules."""

_COLUMNS = Columns("stream_id, xmin::text AS token", f"*, xmin::text AS token, {QUERIES['vars']}")


async def read_function(call: Call, function_id: str, tables: Tables = LIVE) -> bytes:
    """Return one function as JSON. Raises FunctionNotFound."""
    if tables.past is not None:
        columns = f"functions.*, {variables_column(tables.past)}"
        return await present_whole(call, await past_function(call, tables.past, function_id, columns=columns))
    row = require_function(call, await look_up_function(call, function_id))
    cached = call.services.presented.get(_cache_key(row, call.api_version))
    if cached is not None:
        return cached
    row = require_function(call, await call.services.reads.look_up(WHOLE, call.project_id, function_id))
    return await _present(call, row)


async def read_functions(
    call: Call, page: Page, searched: str | None, *, counted: bool, tables: Tables = LIVE
) -> bytes:
    """Return a page of functions as JSON. Only the rows' tokens are read if the JSON of all live rows is cached."""
    counter = ("", "functions") if tables.past is None and searched is None and not page.filters else None

    async def read(columns: str, counted: bool) -> PageRows:
        statements = _list_statements(call, page, searched, columns, tables)
        return await read_page(call, statements, cursor=page.cursor, noun=LIST.noun, counted=counted, counter=counter)

    def cached(row: Row) -> bytes | None:
        return call.services.presented.get(_cache_key(row, call.api_version))

    async def present(row: Row) -> bytes:
        return await _present(call, row)

    if tables.past is not None:
        found = await read(f"*, {variables_column(tables.past)}", counted)
        return joined("functions", found.total, [await present_whole(call, row) for row in found.rows])
    return joined("functions", *await read_cached(_COLUMNS, read, cached, present, counted=counted))


def _list_statements(call: Call, page: Page, searched: str | None, columns: str, tables: Tables) -> Listing:
    """Return the statements of a page of the project's functions. Raises QueryInvalid."""
    mine = tables.of_project(call.project_id)
    scope = mine if searched is None else all_of([mine, search(searched, SEARCHED)])
    shape = tables.schema(FORMER_LIST)
    statements = listing(page, shape, scope, columns=columns, project=call.project_id, cursor_scope=mine)
    if tables.past is None:
        return statements
    if any(map(_names_live_only, page.filters)) or any(name in _LIVE_ONLY for name, _ in page.orders):
        raise QueryInvalid("scheduleNext and schedulePrevious are not available for past states.")
    if searched is None and not page.filters:
        return statements._replace(total=total_of_functions(call.project_id, tables.past))
    return statements


def _names_live_only(condition: QueryFilter) -> bool:
    return condition.attribute in _LIVE_ONLY or any(map(_names_live_only, condition.parts))


async def unfinished_uploads(call: Call, function_id: str) -> list[str]:
    """Return the ids of a function's deployments that wait for parts of their sources."""
    found = await call.services.reads.rows(QUERIES["unfinished_uploads"], (call.project_id, function_id))
    return [row["deployment_id"] for row in found.rows]


async def present_rows(call: Call, row: Row, variables: Sequence[Row]) -> bytes:
    """Return a row that an append returned, as the function's JSON."""
    opened = await open_variables(call, row["project_id"], row["function_id"], variables)
    return encode(schemas.present(row, opened, call.api_version))


async def present_whole(call: Call, row: Row) -> bytes:
    """Return a row with its variables in `vars`, as the function's JSON."""
    return await present_rows(call, row, [_with_moments(variable) for variable in row["vars"]])


async def _present(call: Call, row: Row) -> bytes:
    body = await present_whole(call, row)
    call.services.presented.put(_cache_key(row, call.api_version), body)
    return body


def _with_moments(variable: dict[str, Any]) -> dict[str, Any]:
    """Return a variable from a JSON column with its times as datetimes, which the column holds as text."""
    moments = {name: datetime.fromisoformat(variable[name]) for name in ("created_at", "updated_at")}
    return {**variable, **moments}


def _cache_key(row: Row, api_version: ApiVersion) -> tuple[str, str, str, ApiVersion]:
    return "function", row["stream_id"], row["token"], api_version
