"""Functions and their children in the live tables, or in the same tables as they were at a moment."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from annals.app.as_of.moment import QUERIES, AsOf, requested
from annals.app.edge.call import Call
from annals.app.queries.schema import Schema
from annals.app.queries.statements import MOST_COUNTED, Sql
from annals.app.reads import Lookup, ReadResult
from annals.domain.errors import DomainError, FunctionNotFound
from annals.domain.execution import Execution
from annals.store.postgres.database import Row

T = TypeVar("T")

FUNCTION = Lookup(QUERIES["functions"], 2)


class Tables(NamedTuple):
    """The live tables, or the tables as they were at the moment `past`."""

    past: AsOf | None = None

    def schema(self, schema: Schema) -> Schema:
        """Return a list's schema on its table among these."""
        if self.past is None:
            return schema
        return schema._replace(table=table(schema.table, self.past), id_column="past_id", order="past_sequence")

    def of_project(self, project_id: str) -> Sql:
        """Return the condition for the rows of a project."""
        return Sql("project_id = %s" if self.past is None else "past_project = %s", (project_id,))

    def not_found(self, error: type[DomainError], noun: str) -> DomainError:
        """Return the error for a row that these tables lack."""
        if self.past is None:
            return error()
        return error(f"There was no {noun} with the requested ID at position {self.past.position}.")


LIVE = Tables()


class ChildKind(NamedTuple):
    """A kind of children: their table, the live lookup of one, the error for a missing one, the columns in the past."""

    kind: str
    lookup: Lookup
    missing: type[DomainError]
    past_columns: str = "*"


async def requested_tables(call: Call) -> Tables:
    """Return the tables that a request reads. Raises ArgumentInvalid, HistoryNotReady."""
    return Tables(await requested(call)) if call.asks_as_of else LIVE


def table(kind: str, past: AsOf) -> str:
    """Return `functions`, `variables`, `deployments` or `executions` at a moment, under the live table's name."""
    if kind == "executions":
        return QUERIES["executions"].format(at=past.readable)
    return QUERIES["rows"].format(kind=kind, at=past.readable)


def total_of_functions(project_id: str, past: AsOf) -> Sql:
    """Count the functions of a project: all created ones without the deleted ones, without reading their rows."""
    return Sql(QUERIES["functions_total"], (project_id, past.readable, project_id, past.readable, MOST_COUNTED))


def children_of(project_id: str, function: Row) -> Sql:
    """Return the condition for the children of a function's incarnation."""
    params = (project_id, function["function_id"], function["sequence"])
    return Sql("past_project = %s AND past_function = %s AND function_sequence = %s", params)


def live_children_of(project_id: str, function_id: str) -> Sql:
    """Return the condition for the deployments or executions of a live function's incarnation."""
    return Sql(
        "project_id = %s AND function_id = %s AND function_sequence ="
        " (SELECT sequence FROM functions WHERE project_id = %s AND function_id = %s)",
        (project_id, function_id) * 2,
    )


async def past_function(call: Call, past: AsOf, function_id: str, *, columns: str = "*") -> Row:
    """Return a function as it was. Raises FunctionNotFound."""
    found = await _past_row(call, past, "functions", function_id, columns)
    if found is None:
        raise Tables(past).not_found(FunctionNotFound, "function")
    return found


async def _past_row(call: Call, past: AsOf, kind: str, own_id: str, columns: str) -> Row | None:
    """Return one row as it was, or None if it did not exist."""
    if kind == "executions":
        select = f"SELECT {columns} FROM {table(kind, past)} WHERE stream_id = %s"  # noqa: S608
        found = await call.services.reads.rows(select, (Execution.stream(call.project_id, own_id),))
    else:
        select = f"SELECT {columns} FROM {QUERIES['one'].format(kind=kind, at=past.readable)}"  # noqa: S608
        found = await call.services.reads.rows(select, (call.project_id, own_id))
    return found.rows[0] if found.rows else None


def look_up_function(call: Call, function_id: str) -> "asyncio.Future[ReadResult]":
    """Start to look up a function's `sequence`, and whether it is enabled; see `require_function`."""
    return call.services.reads.look_up(FUNCTION, call.project_id, function_id)


def require_function(call: Call, found: ReadResult) -> Row:
    """Return the row that `look_up_function` found. Raises FunctionNotFound."""
    call.seen(found.position)
    if not found.rows:
        raise FunctionNotFound
    return found.rows[0]


async def read_parent(call: Call, function_id: str, tables: Tables = LIVE) -> Row:
    """Return a function's row, with at least its `sequence`. Raises FunctionNotFound."""
    if tables.past is None:
        return require_function(call, await look_up_function(call, function_id))
    return await past_function(call, tables.past, function_id)


async def within_function(call: Call, function_id: str, work: Awaitable[T], *, enabled: bool = False) -> tuple[Row, T]:
    """Read a function's children together with the function, and return both.

    A missing function raises FunctionNotFound before other errors. If `enabled` is set, a disabled function is missing
    for users and guests.
    """
    parent, found = await asyncio.gather(look_up_function(call, function_id), work, return_exceptions=True)
    if isinstance(parent, BaseException):
        raise parent
    row = require_function(call, parent)
    if enabled and not row["enabled"] and not (await call.caller()).privileged:
        raise FunctionNotFound
    if isinstance(found, BaseException):
        raise found
    return row, found


async def read_children(
    call: Call,
    function_id: str,
    tables: Tables,
    live_scope: Sql,
    read: Callable[[Sql], Awaitable[T]],
    *,
    enabled: bool = False,
) -> T:
    """Read a function's children within `live_scope`, or those of its incarnation at a moment.

    Raises FunctionNotFound as `within_function`. A past function is read first: its incarnation is part of the scope.
    """
    if tables.past is None:
        _, found = await within_function(call, function_id, read(live_scope), enabled=enabled)
        return found
    return await read(children_of(call.project_id, await past_function(call, tables.past, function_id)))


async def read_child(
    call: Call, function_id: str, tables: Tables, child: ChildKind, *key: str, enabled: bool = False
) -> Row:
    """Return one child of a function's incarnation. `key` is that of the lookup, and its id comes last.

    Raises FunctionNotFound as `within_function`, and the child's own error.
    """
    if tables.past is None:
        one = call.services.reads.look_up(child.lookup, call.project_id, *key)  # in the same pipeline as its function
        function, found = await within_function(call, function_id, one, enabled=enabled)
        call.seen(found.position)
        row = found.rows[0] if found.rows else None
    else:
        function = await past_function(call, tables.past, function_id)
        row = await _past_row(call, tables.past, child.kind, key[-1], child.past_columns)
    if row is None or row["function_sequence"] != function["sequence"]:
        raise tables.not_found(child.missing, child.kind.removesuffix("s"))
    return row


def variables_column(past: AsOf) -> str:
    """Return a function's variables as they were, as a column of a select on functions."""
    return QUERIES["vars"].format(variables=table("variables", past))
