"""Functions and their variables as they were."""

from annals.app.as_of import moment, rows
from annals.app.edge.answers import Answer, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.errors import QueryInvalid
from annals.app.functions import queries
from annals.app.queries.page import Page, QueryFilter
from annals.app.queries.reading import read_page
from annals.app.queries.search import search
from annals.app.queries.statements import Sql, listing
from annals.app.variables import queries as variable_queries
from annals.app.wire import encode, joined
from annals.domain.errors import VariableNotFound

_UNTOLD = frozenset({"scheduleNext", "schedulePrevious"})


async def get(call: Call) -> Answer:
    past = await moment.asked(call)
    columns = f"functions.*, {rows.variables_column(past)}"
    row = await rows.function(call, past, call.values["functionId"], columns=columns)
    return raw_json_answer(await queries.present_whole(call, row))


async def list_functions(call: Call) -> Answer:
    past = await moment.asked(call)
    page, searched, counted = call.values["queries"], call.values["search"], call.values["total"]
    _refuse_untold(page)
    mine = rows.functions_of(call.project_id)
    scope = mine
    if searched is not None:
        found_by = search(searched, queries.SEARCHED)
        scope = Sql(f"{mine.text} AND {found_by.text}", (*mine.params, *found_by.params))
    statements = listing(
        page,
        rows.at(queries.FORMER_LIST, past),
        scope,
        columns=f"*, {rows.variables_column(past)}",
        project=call.project_id,
        cursor_scope=mine,
    )
    if searched is None and not page.filters:
        statements = statements._replace(total=rows.total_of_functions(call.project_id, past))
    found = await read_page(call, statements, cursor=page.cursor, noun=queries.LIST.noun, counted=counted)
    call.position = past.position
    return raw_json_answer(
        joined("functions", found.total, [await queries.present_whole(call, row) for row in found.rows])
    )


async def get_variable(call: Call) -> Answer:
    past = await moment.asked(call)
    function = await rows.function(call, past, call.values["functionId"])
    row = await rows.row(call, past, "variables", call.values["variableId"])
    if row is None or row["function_sequence"] != function["sequence"]:
        raise VariableNotFound(f"There was no variable with the requested ID at position {past.position}.")
    return raw_json_answer(await variable_queries.present_row(call, row))


async def list_variables(call: Call) -> Answer:
    past = await moment.asked(call)
    page, counted = call.values["queries"], call.values["total"]
    function = await rows.function(call, past, call.values["functionId"])
    mine = rows.children_of(call.project_id, function)
    most = 25 if call.api_version.newest else variable_queries.FORMER_PAGE
    statements = listing(
        page,
        rows.at(variable_queries.LIST, past),
        mine,
        columns="*",
        project=call.project_id,
        limit=most,
        cursor_scope=mine,
    )
    found = await read_page(call, statements, cursor=page.cursor, noun=variable_queries.LIST.noun, counted=counted)
    call.position = past.position
    shown = await queries.open_variables(call, call.project_id, function["function_id"], found.rows)
    return raw_json_answer(joined("variables", found.total, [encode(variable) for variable in shown]))


def _refuse_untold(page: Page) -> None:
    """When a function is due is told of the present only. Raises QueryInvalid."""
    if any(map(_names_untold, page.filters)) or any(name in _UNTOLD for name, _ in page.orders):
        raise QueryInvalid("scheduleNext and schedulePrevious are not available for past states.")


def _names_untold(condition: QueryFilter) -> bool:
    return condition.attribute in _UNTOLD or any(map(_names_untold, condition.parts))
