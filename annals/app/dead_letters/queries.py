"""Queries that read dead letters."""

from annals.app.edge.call import Call
from annals.app.queries.page import Page
from annals.app.queries.reading import PageRows, read_page
from annals.app.queries.schema import integer, schema, text
from annals.app.queries.statements import Sql, listing

LIST = schema(
    "executions",
    "execution_id",
    "Dead letter",
    deploymentId=text("deployment_id"),
    trigger=text("trigger"),
    reason=text("dead_reason"),
    requestMethod=text("request_method"),
    requestPath=text("request_path"),
    responseStatusCode=integer("response_status_code"),
    attempts=integer("epoch"),
)
PAGE = 25


async def read_dead_letters(
    call: Call, function_id: str, incarnation: int, page: Page, *, counted: bool, limit: int = PAGE
) -> PageRows:
    """Return a page of a function's dead letters. Raises CursorNotFound, QueryInvalid."""
    scope = Sql(
        "project_id = %s AND function_id = %s AND function_sequence = %s AND dead_reason <> ''",
        (call.project_id, function_id, incarnation),
    )
    statements = listing(page, LIST, scope, columns="*", project=call.project_id, limit=limit, cursor_scope=scope)
    return await read_page(call, statements, cursor=page.cursor, noun=LIST.noun, counted=counted)
