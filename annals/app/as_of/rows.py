"""Functions and their children in the live tables, or in the same tables as they were at a moment."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from annals.app.as_of.moment import QUERIES, AsOf
from annals.app.edge.call import Call
from annals.app.queries.schema import Schema
from annals.app.queries.statements import MOST_COUNTED, Sql
from annals.app.reads import Lookup, ReadResult
from annals.domain.errors import FunctionNotFound
from annals.store.postgres.database import Row

T = TypeVar("T")

FUNCTION = Lookup(QUERIES["functions"], 2)


class Tables(NamedTuple):
    """The live tables, or the tables as they were at the moment `past`."""

    past: AsOf | None = None

    def schema(self, schema: Schema) -> Schema:
        """Return a list's schema on its table among these."""
        return schema if self.past is None else at(schema, self.past)

    def of_project(self, project_id: str) -> Sql:
        """Return the condition for the rows of a project."""
        return Sql("project_id = %s" if self.past is None else "past_project = %s", (project_id,))


LIVE = Tables()


def table(kind: str, past: AsOf) -> str:
    """Return `functions`, `variables`, `deployments` or `executions` at a moment, under the live table's name."""
    if kind == "executions":
        return QUERIES["executions"].format(at=past.readable)
    return QUERIES["rows"].format(kind=kind, at=past.readable)


def at(schema: Schema, past: AsOf) -> Schema:
    """Return a list's schema on its table at a moment."""
    then = schema._replace(table=table(schema.table, past))
    return then if schema.table == "executions" else then._replace(id_column="past_id", order="past_sequence")


def total_of_functions(project_id: str, past: AsOf) -> Sql:
    """Count the functions of a project: all created ones without the deleted ones, without reading their rows."""
    return Sql(QUERIES["functions_total"], (project_id, past.readable, project_id, past.readable, MOST_COUNTED))


def children_of(project_id: str, function: Row) -> Sql:
    """Return the condition for the variables or deployments of a function's incarnation."""
    params = (project_id, function["function_id"], function["sequence"])
    return Sql("past_project = %s AND past_function = %s AND function_sequence = %s", params)


async def row(call: Call, past: AsOf, kind: str, own_id: str, *, columns: str = "*") -> Row | None:
    """Return one row as it was, or None if it did not exist."""
    one = QUERIES["one"].format(kind=kind, at=past.readable)
    found = await call.services.reads.rows(f"SELECT {columns} FROM {one}", (call.project_id, own_id))  # noqa: S608
    return found.rows[0] if found.rows else None


async def function(call: Call, past: AsOf, function_id: str, *, columns: str = "*") -> Row:
    """Return a function as it was. Raises FunctionNotFound."""
    found = await row(call, past, "functions", function_id, columns=columns)
    if found is None:
        raise FunctionNotFound(f"There was no function with the requested ID at position {past.position}.")
    return found


def look_up_function(call: Call, function_id: str) -> "asyncio.Future[ReadResult]":
    """Start to look up a function's `sequence`; see `require_function`."""
    return call.services.reads.look_up(FUNCTION, call.project_id, function_id)


def require_function(call: Call, found: ReadResult) -> Row:
    """Return the row that `look_up_function` found. Raises FunctionNotFound."""
    call.seen(found.position)
    if not found.rows:
        raise FunctionNotFound
    return found.rows[0]


async def within_function(call: Call, function_id: str, work: Awaitable[T]) -> T:
    """Read a function's children together with the function. A missing function raises FunctionNotFound before other
    errors."""
    parent, found = await asyncio.gather(look_up_function(call, function_id), work, return_exceptions=True)
    if isinstance(parent, BaseException):
        raise parent
    require_function(call, parent)
    if isinstance(found, BaseException):
        raise found
    return found


async def read_children(
    call: Call, function_id: str, tables: Tables, live_scope: Sql, read: Callable[[Sql], Awaitable[T]]
) -> T:
    """Read a function's children within `live_scope`, or those of its incarnation at a moment.

    Raises FunctionNotFound. A past function is read first, since its incarnation is part of the scope.
    """
    if tables.past is None:
        return await within_function(call, function_id, read(live_scope))
    parent = await function(call, tables.past, function_id)
    found = await read(children_of(call.project_id, parent))
    call.position = tables.past.position
    return found


async def child(call: Call, past: AsOf, kind: str, own_id: str, *, columns: str = "*") -> Row | None:
    """Return a variable or deployment of the function in the path as it was, or None. Raises FunctionNotFound."""
    parent = await function(call, past, call.values["functionId"])
    found = await row(call, past, kind, own_id, columns=columns)
    return found if found is not None and found["function_sequence"] == parent["sequence"] else None


def variables_column(past: AsOf) -> str:
    """Return a function's variables as they were, as a column of a select on functions."""
    return QUERIES["vars"].format(variables=table("variables", past))
