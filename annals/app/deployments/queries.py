"""Queries that read deployments with their build logs, live or as they were at a moment."""

import asyncio
from collections.abc import Awaitable

from annals.app.as_of.rows import LIVE, ChildKind, Tables, live_children_of, read_child, read_children
from annals.app.deployments import schemas
from annals.app.edge.call import Call
from annals.app.errors import QueryInvalid
from annals.app.queries.page import Page
from annals.app.queries.reading import PageRows, read_list
from annals.app.queries.schema import boolean, integer, schema, text
from annals.app.queries.statements import Sql
from annals.app.reads import Lookup
from annals.app.stored_text import damage_sentence, read_stored_text
from annals.app.wire import encode, joined
from annals.application.deployment_requests import DeploymentOwner
from annals.domain.errors import DeploymentNotFound, FunctionNotFound
from annals.store.errors import ContentDamaged
from annals.store.postgres import sql
from annals.store.postgres.database import Row

QUERIES = sql.load(__package__, "queries.sql")
_LOGS = QUERIES["logs"].format(kept_log=QUERIES["kept_log"])
ONE = Lookup(QUERIES["deployments"].format(logs=_LOGS), 2)
FUNCTION = Lookup(QUERIES["functions"], 2)
SOURCE_SIZE = "greatest(source_size, upload_size)"
"""A source's size in bytes. Until all chunks have arrived it is the size that the first chunk declared."""

LIST = schema(
    "deployments",
    "deployment_id",
    "Deployment",
    schemas.FIELDS,
    buildSize=integer("build_size"),
    sourceSize=integer(SOURCE_SIZE),
    totalSize=integer(f"({SOURCE_SIZE} + build_size)"),
    buildDuration=integer("build_duration"),
    status=text("status"),
    activate=boolean("activate"),
    type=text("type"),
)
_COLUMNS = f"*, {_LOGS}"
_PAST_COLUMNS = f"deployments.*, {QUERIES['kept_log']}"
"""The log of a build that ran at that moment is empty: its pieces have no positions."""

CHILD = ChildKind("deployments", ONE, DeploymentNotFound, _PAST_COLUMNS)


async def read_owner(call: Call, function_id: str) -> DeploymentOwner:
    """Return the fields that a new deployment takes from a function. Raises FunctionNotFound."""
    found = await call.services.reads.look_up(FUNCTION, call.project_id, function_id)
    call.seen(found.position)
    if not found.rows:
        raise FunctionNotFound
    return DeploymentOwner.of_row(found.rows[0])


async def find_row(call: Call, deployment_id: str) -> Row | None:
    """Return a deployment of any function with its log columns, or None."""
    found = await call.services.reads.look_up(ONE, call.project_id, deployment_id)
    call.seen(found.position)
    return found.rows[0] if found.rows else None


async def read_row(call: Call, function_id: str, deployment_id: str, tables: Tables = LIVE) -> Row:
    """Return a function's deployment with its log columns. Raises FunctionNotFound, DeploymentNotFound."""
    return await read_child(call, function_id, tables, CHILD, deployment_id)


async def read_deployments(
    call: Call, function_id: str, page: Page, searched: str | None, *, counted: bool, tables: Tables = LIVE
) -> bytes:
    """Return a page of a function's deployments as JSON. Raises FunctionNotFound, and QueryInvalid for any search."""
    live_scope = live_children_of(call.project_id, function_id)
    if searched is not None:
        await read_children(call, function_id, tables, live_scope, lambda _: asyncio.sleep(0))
        raise QueryInvalid("Deployments cannot be searched: they have no full-text index.")
    columns = _COLUMNS if tables.past is None else _PAST_COLUMNS
    counter = (function_id, "deployments") if tables.past is None and not page.filters else None

    def read(scope: Sql) -> Awaitable[PageRows]:
        mine, shape = tables.of_project(call.project_id), tables.schema(LIST)
        return read_list(call, page, shape, scope, counted=counted, columns=columns, cursor_scope=mine, counter=counter)

    found = await read_children(call, function_id, tables, live_scope, read)
    return joined("deployments", found.total, [await present_whole(call, row, page.select) for row in found.rows])


async def present_row(call: Call, row: Row) -> bytes:
    """Return a row as the deployment's JSON. A row from an append has no log columns: they are read if there can be a
    log."""
    if "log_pieces" not in row and row["epoch"]:
        row = await find_row(call, row["deployment_id"]) or row
    return encode(schemas.present(row, await shown_log(call, row), call.api_version))


async def read_log(call: Call, row: Row) -> str:
    """Return the text of the row's log columns. Raises ContentDamaged."""
    noun = f"The build log of {row['stream_id']}"
    text = await read_stored_text(call, row.get("log_data"), row.get("log_place"), noun)
    return row.get("log_pieces") or "" if text is None else text


async def shown_log(call: Call, row: Row) -> str:
    """Return the text of the row's log columns, or a sentence that says that it is damaged."""
    try:
        return await read_log(call, row)
    except ContentDamaged as damage:
        return damage_sentence(damage)


async def present_whole(call: Call, row: Row, select: frozenset[str] | None = None) -> bytes:
    """Return a row with its log columns as the deployment's JSON, or only the selected fields."""
    deployment = schemas.present(row, await shown_log(call, row), call.api_version)
    return encode(deployment if select is None else schemas.selected(deployment, select))
