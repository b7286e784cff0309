"""Executions as they were recorded, without the present's correction of executions of lost processes."""

from litestar.response import Stream

from annals.app.as_of import moment, rows
from annals.app.edge.answers import Answer, raw_json_answer
from annals.app.edge.call import Call
from annals.app.executions import queries
from annals.app.executions.download import download
from annals.app.queries.reading import read_page
from annals.app.queries.statements import Sql, listing
from annals.app.wire import encode, joined
from annals.domain.errors import ExecutionNotFound, UserUnauthorized
from annals.domain.execution import Execution
from annals.store.postgres.database import Row

_COLUMNS = f"executions.*, {queries.QUERIES['output']}"


async def get(call: Call) -> Answer:
    return raw_json_answer(encode(await queries.present_recorded(call, await _row(call))))


async def download_logs(call: Call) -> Stream:
    """Return the output that was recorded by then, which may be that of an earlier attempt."""
    if not (await call.caller()).privileged:
        raise UserUnauthorized
    return await download(call, {**await _row(call), "status": ""}, call.values["output"])


async def _row(call: Call) -> Row:
    past = await moment.requested(call)
    function = await rows.function(call, past, call.values["functionId"])
    stream = Execution.stream(call.project_id, call.values["executionId"])
    select = f"SELECT {_COLUMNS} FROM {rows.table('executions', past)} WHERE stream_id = %s"  # noqa: S608
    found = await call.services.reads.rows(select, (stream,))
    row = found.rows[0] if found.rows else None
    mine = function["function_id"], function["sequence"]
    if row is None or (row["function_id"], row["function_sequence"]) != mine:
        raise ExecutionNotFound(f"There was no execution with the requested ID at position {past.position}.")
    return row


async def list_executions(call: Call) -> Answer:
    past = await moment.requested(call)
    page, counted = call.values["queries"], call.values["total"]
    function = await rows.function(call, past, call.values["functionId"])
    statements = listing(
        page,
        rows.at(queries.LIST, past),
        Sql(
            "project_id = %s AND function_id = %s AND function_sequence = %s",
            (call.project_id, function["function_id"], function["sequence"]),
        ),
        columns=_COLUMNS,
        project=call.project_id,
        cursor_scope=Sql("stream_id = %s", (Execution.stream(call.project_id, page.cursor),)),
    )
    found = await read_page(call, statements, cursor=page.cursor, noun=queries.LIST.noun, counted=counted)
    call.position = past.position
    shown = [encode(await queries.present_recorded(call, row)) for row in found.rows]
    return raw_json_answer(joined("executions", found.total, shown))
