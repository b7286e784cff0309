"""Deployments as they were. A log that was still growing is told empty: its pieces are not kept by position."""

from annals.app.as_of import moment, rows
from annals.app.deployments import queries
from annals.app.edge.answers import Answer, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.errors import QueryInvalid
from annals.app.queries.reading import read_page
from annals.app.queries.statements import listing
from annals.app.wire import joined
from annals.domain.errors import DeploymentNotFound

_COLUMNS = f"deployments.*, {queries.QUERIES['kept_log']}"


async def get(call: Call) -> Answer:
    past = await moment.asked(call)
    function = await rows.function(call, past, call.values["functionId"])
    row = await rows.row(call, past, "deployments", call.values["deploymentId"], columns=_COLUMNS)
    if row is None or row["function_sequence"] != function["sequence"]:
        raise DeploymentNotFound(f"There was no deployment with the requested ID at position {past.position}.")
    return raw_json_answer(await queries.present_whole(call, row))


async def list_deployments(call: Call) -> Answer:
    past = await moment.asked(call)
    page, counted = call.values["queries"], call.values["total"]
    function = await rows.function(call, past, call.values["functionId"])
    if call.values["search"] is not None:
        raise QueryInvalid("Deployments cannot be searched: they have no full-text index.")
    statements = listing(
        page,
        rows.at(queries.LIST, past),
        rows.children_of(call.project_id, function),
        columns=_COLUMNS,
        project=call.project_id,
        cursor_scope=rows.functions_of(call.project_id),
    )
    found = await read_page(call, statements, cursor=page.cursor, noun=queries.LIST.noun, counted=counted)
    call.position = past.position
    shown = [await queries.present_whole(call, row, page.select) for row in found.rows]
    return raw_json_answer(joined("deployments", found.total, shown))
