"""Queries that read the variables of functions, live or as they were at a moment, and of projects; their wire model.

A variable of a project, which all of its functions have, has an empty function id.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from annals.app.as_of.rows import LIVE, ChildKind, Tables, read_child, read_children
from annals.app.edge.call import Call
from annals.app.queries.page import Page
from annals.app.queries.reading import PageRows, read_list
from annals.app.queries.schema import Attribute, boolean, schema, text
from annals.app.queries.statements import Sql
from annals.app.reads import Lookup
from annals.app.wire import ResourceModel, encode, joined, wire_date
from annals.domain.errors import VariableNotFound
from annals.domain.function import Function
from annals.domain.project import Project
from annals.store.errors import DataKeyDeleted
from annals.store.postgres import sql
from annals.store.postgres.database import Row

QUERIES = sql.load(__package__, "queries.sql")
ONE = Lookup(QUERIES["variables"], 3)
CHILD = ChildKind("variables", ONE, VariableNotFound)
FORMER_PAGE = 1000
"""The page size of older API versions."""

LIST = schema(
    "variables",
    "variable_id",
    "Variable",
    key=text("key"),
    resourceType=Attribute("text", "CASE function_id WHEN '' THEN 'project' ELSE 'function' END"),
    resourceId=text("function_id"),
    secret=boolean("secret"),
)


class VariableModel(ResourceModel, rename="camel", kw_only=True):
    """One variable. The value of a secret variable is always empty."""

    key: str
    value: str
    secret: bool
    resource_type: str
    resource_id: str


async def read_variable(call: Call, function_id: str, variable_id: str, tables: Tables = LIVE) -> bytes:
    """Return one variable as JSON. Raises FunctionNotFound, VariableNotFound."""
    row = await read_child(call, function_id, tables, CHILD, function_id, variable_id)
    return await present_row(call, row)


async def read_variables(call: Call, function_id: str, page: Page, *, counted: bool, tables: Tables = LIVE) -> bytes:
    """Return a page of variables as JSON. Raises FunctionNotFound."""
    most = 25 if call.api_version.newest else FORMER_PAGE
    counter = (function_id, "variables") if tables.past is None and not page.filters else None

    def read(scope: Sql) -> Awaitable[PageRows]:
        return read_list(call, page, tables.schema(LIST), scope, counted=counted, limit=most, counter=counter)

    live_scope = Sql("project_id = %s AND function_id = %s", (call.project_id, function_id))
    found = await read_children(call, function_id, tables, live_scope, read)
    shown = await open_variables(call, call.project_id, function_id, found.rows)
    return joined("variables", found.total, [encode(variable) for variable in shown])


async def read_project_variable(call: Call, variable_id: str) -> bytes:
    """Return one variable of the project as JSON. Raises VariableNotFound."""
    found = await call.services.reads.look_up(ONE, call.project_id, "", variable_id)
    call.seen(found.position)
    if not found.rows:
        raise VariableNotFound
    return await present_row(call, found.rows[0])


async def read_project_variables(call: Call, page: Page, *, counted: bool) -> bytes:
    """Return a page of the project's own variables as JSON."""
    scope = Sql("project_id = %s AND function_id = ''", (call.project_id,))
    found = await read_list(call, page, LIST, scope, counted=counted)
    shown = await open_variables(call, call.project_id, "", found.rows)
    return joined("variables", found.total, [encode(variable) for variable in shown])


async def present_row(call: Call, row: Row) -> bytes:
    """Return a row as the variable's JSON."""
    shown = await open_variables(call, row["project_id"], row["function_id"], [row])
    return encode(shown[0])


async def open_variables(
    call: Call, project_id: str, function_id: str, variables: Sequence[Mapping[str, Any]]
) -> list[VariableModel]:
    """Return variables of a function, or of the project, as answers show them. Values of secrets stay sealed."""
    owner = Function.stream(project_id, function_id) if function_id else Project.stream(project_id)
    return [
        VariableModel(
            id=row["variable_id"],
            created_at=wire_date(row["created_at"]),
            updated_at=wire_date(row["updated_at"]),
            key=row["key"],
            value=await _shown_value(call, project_id, owner, row),
            secret=row["secret"],
            resource_type="function" if function_id else "project",
            resource_id=function_id,
        )
        for row in variables
    ]


async def _shown_value(call: Call, project_id: str, owner: str, row: Mapping[str, Any]) -> str:
    """Return a variable's value. It is empty for a secret, and in live reads if its data key was deleted.

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
