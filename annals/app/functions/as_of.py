"""Functions as they were at a moment."""

from annals.app.as_of import moment, rows
from annals.app.as_of.rows import Tables
from annals.app.edge.answers import Answer, raw_json_answer
from annals.app.edge.call import Call
from annals.app.errors import QueryInvalid
from annals.app.functions import queries
from annals.app.queries.page import Page, QueryFilter
from annals.app.queries.reading import read_page
from annals.app.wire import joined

_LIVE_ONLY = frozenset({"scheduleNext", "schedulePrevious"})


async def get(call: Call) -> Answer:
    past = await moment.requested(call)
    columns = f"functions.*, {rows.variables_column(past)}"
    row = await rows.function(call, past, call.values["functionId"], columns=columns)
    return raw_json_answer(await queries.present_whole(call, row))


async def list_functions(call: Call) -> Answer:
    past = await moment.requested(call)
    page, searched, counted = call.values["queries"], call.values["search"], call.values["total"]
    _refuse_live_only(page)
    columns = f"*, {rows.variables_column(past)}"
    statements = queries.list_statements(call, page, searched, columns, Tables(past))
    if searched is None and not page.filters:
        statements = statements._replace(total=rows.total_of_functions(call.project_id, past))
    found = await read_page(call, statements, cursor=page.cursor, noun=queries.LIST.noun, counted=counted)
    call.position = past.position
    shown = [await queries.present_whole(call, row) for row in found.rows]
    return raw_json_answer(joined("functions", found.total, shown))


def _refuse_live_only(page: Page) -> None:
    """Raise QueryInvalid for the times of schedules, which are only known of the present."""
    if any(map(_names_live_only, page.filters)) or any(name in _LIVE_ONLY for name, _ in page.orders):
        raise QueryInvalid("scheduleNext and schedulePrevious are not available for past states.")


def _names_live_only(condition: QueryFilter) -> bool:
    return condition.attribute in _LIVE_ONLY or any(map(_names_live_only, condition.parts))
