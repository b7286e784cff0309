"""Queries that read the variables of a function, live or as they were at a moment."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from annals.app.as_of.rows import LIVE, Child, Tables, read_child, read_children
from annals.app.edge.call import Call
from annals.app.queries.page import Page
from annals.app.queries.reading import PageRows, read_page
from annals.app.queries.schema import Attribute, boolean, schema, text
from annals.app.queries.statements import Sql, listing
from annals.app.reads import Lookup
from annals.app.variables.schemas import VariableModel, present
from annals.app.wire import encode, joined
from annals.domain.errors import VariableNotFound
from annals.domain.function import Function
from annals.store.errors import DataKeyDeleted
from annals.store.postgres import sql
from annals.store.postgres.database import Row

QUERIES = sql.load(__package__, "queries.sql")
ONE = Lookup(QUERIES["variables"], 3)
CHILD = Child("variables", ONE, VariableNotFound)
FORMER_PAGE = 1000
"""The page size of older API versions."""

LIST = schema(
    "variables",
    "variable_id",
    "Variable",
    key=text("key"),
    resourceType=Attribute("text", "'function'::text"),
    resourceId=text("function_id"),
    secret=boolean("secret"),
)


async def read_variable(call: Call, function_id: str, variable_id: str, tables: Tables = LIVE) -> bytes:
    """Return one variable as JSON. Raises FunctionNotFound, VariableNotFound."""
    row = await read_child(call, function_id, tables, CHILD, function_id, variable_id)
    return await present_row(call, row)


async def read_variables(call: Call, function_id: str, page: Page, *, counted: bool, tables: Tables = LIVE) -> bytes:
    """Return a page of variables as JSON. Raises FunctionNotFound."""
    most = 25 if call.api_version.newest else FORMER_PAGE
    counter = (function_id, "variables") if tables.past is None and not page.filters else None

    def read(scope: Sql) -> Awaitable[PageRows]:
        statements = listing(
            page,
            tables.schema(LIST),
            scope,
            columns="*",
            project=call.project_id,
            limit=most,
            cursor_scope=scope,
        )
        return read_page(call, statements, cursor=page.cursor, noun=LIST.noun, counted=counted, counter=counter)

    live_scope = Sql("project_id = %s AND function_id = %s", (call.project_id, function_id))
    found = await read_children(call, function_id, tables, live_scope, read)
    shown = await open_variables(call, call.project_id, function_id, found.rows)
    return joined("variables", found.total, [encode(variable) for variable in shown])


async def present_row(call: Call, row: Row) -> bytes:
    """Return a row as the variable's JSON."""
    shown = await open_variables(call, row["project_id"], row["function_id"], [row])
    return encode(shown[0])


async def open_variables(
    call: Call, project_id: str, function_id: str, variables: Sequence[Mapping[str, Any]]
) -> list[VariableModel]:
    """Return variables as answers show them. Values of secrets stay sealed."""
    stream = Function.stream(project_id, function_id)
    return [present(row, await shown_value(call, project_id, stream, row)) for row in variables]


async def shown_value(call: Call, project_id: str, owner: str, row: Mapping[str, Any]) -> str:
    """Return the value of a row of `variables`. It is empty for a secret, and in live reads if its data key was
    deleted.

    `owner` is the stream of its function or project. Raises DataKeyDeleted for a past state, SealBroken,
    MasterKeyWrong, StoreUnavailable.
    """
    if row["secret"]:
        return ""
    try:
        return await call.services.vault.open(project_id, owner, row["variable_id"], row["sealed"])
    except DataKeyDeleted:
        if call.asks_as_of:
            raise
        return ""
