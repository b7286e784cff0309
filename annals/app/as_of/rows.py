"""Live tables as they were: what to select from in their place, and single rows."""

from annals.app.as_of.moment import QUERIES, AsOf
from annals.app.edge.call import Call
from annals.app.queries.schema import Schema
from annals.app.queries.statements import MOST_COUNTED, Sql
from annals.domain.errors import FunctionNotFound
from annals.store.postgres.database import Row


def table(kind: str, past: AsOf) -> str:
    """`functions`, `variables`, `deployments` or `executions` at a moment, under the live table's name."""
    if kind == "executions":
        return QUERIES["executions"].format(at=past.readable)
    return QUERIES["rows"].format(kind=kind, at=past.readable)


def at(schema: Schema, past: AsOf) -> Schema:
    """A list's schema on its table at a moment."""
    then = schema._replace(table=table(schema.table, past))
    return then if schema.table == "executions" else then._replace(id_column="past_id", order="past_sequence")


def total_of_functions(project_id: str, past: AsOf) -> Sql:
    """How many functions a project had: those that had begun without those that were gone, none of them looked at."""
    return Sql(QUERIES["functions_total"], (project_id, past.readable, project_id, past.readable, MOST_COUNTED))


def functions_of(project_id: str) -> Sql:
    return Sql("past_project = %s", (project_id,))


def children_of(project_id: str, function: Row) -> Sql:
    """The variables or deployments of a function in its incarnation."""
    params = (project_id, function["function_id"], function["sequence"])
    return Sql("past_project = %s AND past_function = %s AND function_sequence = %s", params)


async def row(call: Call, past: AsOf, kind: str, own_id: str, *, columns: str = "*") -> Row | None:
    """One row as it was, None when there was none."""
    one = QUERIES["one"].format(kind=kind, at=past.readable)
    found = await call.services.reads.rows(f"SELECT {columns} FROM {one}", (call.project_id, own_id))  # noqa: S608
    return found.rows[0] if found.rows else None


async def function(call: Call, past: AsOf, function_id: str, *, columns: str = "*") -> Row:
    """A function as it was. Raises FunctionNotFound."""
    found = await row(call, past, "functions", function_id, columns=columns)
    if found is None:
        raise FunctionNotFound(f"There was no function with the requested ID at position {past.position}.")
    return found


def variables_column(past: AsOf) -> str:
    """A function's variables as they were, as a column of a select on functions."""
    return QUERIES["vars"].format(variables=table("variables", past))
