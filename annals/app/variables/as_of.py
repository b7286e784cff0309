"""A function's variables as they were at a moment."""

from annals.app.as_of import moment, rows
from annals.app.as_of.rows import Tables
from annals.app.edge.answers import Answer, raw_json_answer
from annals.app.edge.call import Call
from annals.app.variables import queries
from annals.domain.errors import VariableNotFound


async def get_variable(call: Call) -> Answer:
    past = await moment.requested(call)
    row = await rows.child(call, past, "variables", call.values["variableId"])
    if row is None:
        raise VariableNotFound(f"There was no variable with the requested ID at position {past.position}.")
    return raw_json_answer(await queries.present_row(call, row))


async def list_variables(call: Call) -> Answer:
    tables, values = Tables(await moment.requested(call)), call.values
    page, counted = values["queries"], values["total"]
    return raw_json_answer(
        await queries.read_variables(call, values["functionId"], page, counted=counted, tables=tables)
    )
