"""The tables that reads select from: the live ones, or the same tables as they were at a moment."""

from typing import NamedTuple

from annals.app.as_of.moment import QUERIES, AsOf
from annals.app.edge.call import Call
from annals.app.queries.schema import Schema
from annals.app.queries.statements import MOST_COUNTED, Sql
from annals.domain.errors import FunctionNotFound
from annals.store.postgres.database import Row


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


async def child(call: Call, past: AsOf, kind: str, own_id: str, *, columns: str = "*") -> Row | None:
    """Return a variable or deployment of the function in the path as it was, or None. Raises FunctionNotFound."""
    parent = await function(call, past, call.values["functionId"])
    found = await row(call, past, kind, own_id, columns=columns)
    return found if found is not None and found["function_sequence"] == parent["sequence"] else None


def variables_column(past: AsOf) -> str:
    """Return a function's variables as they were, as a column of a select on functions."""
    return QUERIES["vars"].format(variables=table("variables", past))
