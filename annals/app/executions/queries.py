"""Queries that read executions, live or as they were at a moment, as far as the caller may see them."""

from collections.abc import Awaitable, Callable

from annals.app.as_of.rows import LIVE, ChildKind, Tables, live_children_of, read_child, read_children
from annals.app.edge.call import Call
from annals.app.edge.negotiation import ApiVersion
from annals.app.executions import schemas
from annals.app.queries.page import Page, QueryFilter
from annals.app.queries.reading import Columns, PageRows, read_cached, read_list
from annals.app.queries.schema import Attribute, decimal, integer, schema, text
from annals.app.queries.statements import Sql
from annals.app.reads import Lookup
from annals.app.stored_text import damage_sentence, read_stored_text
from annals.app.wire import encode, joined
from annals.domain.errors import ExecutionNotFound
from annals.domain.execution import Execution
from annals.domain.ports import ExecutorUnavailable, Output
from annals.store.errors import ContentDamaged
from annals.store.postgres import sql
from annals.store.postgres.database import Row

QUERIES = sql.load(__package__, "queries.sql")
_STALE, _OUTPUT = QUERIES["stale"], QUERIES["output"]
ONE = Lookup(QUERIES["executions"].format(stale=_STALE, output=_OUTPUT), 2)
LIST = schema(
    "executions",
    "execution_id",
    "Execution",
    trigger=text("trigger"),
    status=text("status"),
    responseStatusCode=integer("response_status_code"),
    duration=decimal("(duration_ms / 1000.0)::float8"),
    requestMethod=text("request_method"),
    requestPath=text("request_path"),
    deploymentId=text("deployment_id"),
)
CORRECTED = LIST._replace(
    attributes={
        **LIST.attributes,
        "status": Attribute("text", f"CASE WHEN {_STALE} THEN 'failed' ELSE executions.status END"),
    }
)
"""The list whose stale rows count as failed (http-api.md 7.18, 13)."""

_COLUMNS = Columns("sequence, version, status", f"*, {_STALE} AS stale, {_OUTPUT}")
"""Ended executions never change, so their JSON is cached."""

_PAST_COLUMNS = f"executions.*, {_OUTPUT}"
"""Past executions are shown as they were recorded, without the correction of stale rows."""

CHILD = ChildKind("executions", ONE, ExecutionNotFound, _PAST_COLUMNS)

_Read = Callable[[Call, Row, str], Awaitable[str]]
"""Reads the logs or errors of a row."""

_OPEN = frozenset({"waiting", "processing"})
_ENDED = frozenset({"completed", "failed"})


async def read_execution(call: Call, function_id: str, execution_id: str, tables: Tables = LIVE) -> bytes:
    """Return one execution as its JSON. Raises FunctionNotFound, ExecutionNotFound."""
    return encode(await present_stored(call, await read_row(call, function_id, execution_id, tables)))


async def read_row(call: Call, function_id: str, execution_id: str, tables: Tables = LIVE) -> Row:
    """Return one execution that the caller may read. Raises FunctionNotFound, ExecutionNotFound."""
    row = await read_child(call, function_id, tables, CHILD, execution_id, enabled=True)
    caller = await call.caller()
    if not caller.privileged and row["user_id"] != caller.user_id:
        raise ExecutionNotFound
    return row


async def read_executions(call: Call, function_id: str, page: Page, *, counted: bool, tables: Tables = LIVE) -> bytes:
    """Return a page of the function's executions that the caller may read, as JSON. Raises FunctionNotFound."""
    caller = await call.caller() if not call.claims_key else None
    user = None if caller is None or caller.privileged else caller.user_id
    corrected = tables.past is None and not any(_asks_for_open(condition) for condition in page.filters)
    shape = tables.schema(CORRECTED if corrected else LIST)
    counter = (function_id, "executions") if tables.past is None and caller is None and not page.filters else None
    cursor_scope = _own(Sql("stream_id = %s", (Execution.stream(call.project_id, page.cursor),)), user)
    live_scope = live_children_of(call.project_id, function_id)
    privileged = False

    async def read(columns: str, counted: bool) -> PageRows:
        nonlocal privileged

        def read_within(scope: Sql) -> Awaitable[PageRows]:
            return read_list(
                call,
                page,
                shape,
                _own(scope, user),
                counted=counted,
                columns=columns,
                cursor_scope=cursor_scope,
                counter=counter,
            )

        found = await read_children(call, function_id, tables, live_scope, read_within, enabled=True)
        privileged = (await call.caller()).privileged
        return found

    def cached(row: Row) -> bytes | None:
        return call.services.presented.get(_cache_key(row, call.api_version, privileged))

    async def present(row: Row) -> bytes:
        return await _present_and_cache(call, row, corrected=corrected, privileged=privileged)

    if tables.past is not None:
        then = await read(_PAST_COLUMNS, counted)
        shown = [encode(await present_stored(call, row)) for row in then.rows]
        return joined("executions", then.total, shown)
    return joined("executions", *await read_cached(_COLUMNS, read, cached, present, counted=counted))


def _own(scope: Sql, user: str | None) -> Sql:
    """Return a condition that only fits the rows of a user, if one is named."""
    return scope if user is None else Sql(f"{scope.text} AND user_id = %s", (*scope.params, user))


async def find_row(call: Call, execution_id: str) -> Row | None:
    """Return an execution of any function, with its output's columns."""
    found = await call.services.reads.look_up(ONE, call.project_id, execution_id)
    call.seen(found.position)
    return found.rows[0] if found.rows else None


async def present_stored(call: Call, row: Row) -> schemas.ExecutionModel:
    """Return the model of a row from `read_row`, `find_row` or an append, as far as the caller may see it."""
    return await _present(call, row, _text_or_damage, corrected=True)


async def read_output(call: Call, row: Row) -> Output:
    """Return the output of an execution with the platform's sentence, or the output so far of a running one.

    Raises ContentDamaged.
    """
    return await _output(call, row, _text)


async def output_or_damage(call: Call, row: Row) -> Output:
    """Return the output as `read_output` does, with a sentence in the place of a damaged text."""
    return await _output(call, row, _text_or_damage)


async def _output(call: Call, row: Row, read: _Read) -> Output:
    if row["status"] == "processing":
        try:
            written = await call.services.executor.output(call.project_id, row["execution_id"])
        except ExecutorUnavailable:
            written = None
        return written or Output()
    return Output(await read(call, row, "logs"), schemas.with_sentence(row["message"], await read(call, row, "errors")))


async def recorded_text(call: Call, row: Row, kind: str) -> bytes:
    """Return the recorded logs or errors of a row, the platform's sentence included. Raises ContentDamaged."""
    text = await _text(call, row, kind)
    return (schemas.with_sentence(row["message"], text) if kind == "errors" else text).encode()


async def _present_and_cache(call: Call, row: Row, *, corrected: bool, privileged: bool) -> bytes:
    try:
        body = encode(await _present(call, row, _text, corrected=corrected))
    except ContentDamaged:
        return encode(await _present(call, row, _text_or_damage, corrected=corrected))
    if row["status"] in _ENDED:
        call.services.presented.put(_cache_key(row, call.api_version, privileged), body)
    return body


def _cache_key(row: Row, api_version: ApiVersion, privileged: bool) -> tuple[str, int, int, ApiVersion, bool]:
    return "execution", row["sequence"], row["version"], api_version, privileged


async def _present(call: Call, row: Row, read: _Read, *, corrected: bool) -> schemas.ExecutionModel:
    if corrected and row.get("stale"):
        row = {**row, "status": "failed"}
    output = schemas.NO_OUTPUT
    if (await call.caller()).privileged:
        logs, errors = await read(call, row, "logs"), await read(call, row, "errors")
        output = schemas.OutputModel(logs, schemas.with_sentence(row["message"], errors))
    return schemas.present(row, output, call.api_version)


async def _text(call: Call, row: Row, kind: str) -> str:
    """Return the stored logs or errors. Raises ContentDamaged."""
    name = f"The {kind} of {row['stream_id']}"
    return await read_stored_text(call, row.get(f"{kind}_data"), row.get(f"{kind}_place"), name) or ""


async def _text_or_damage(call: Call, row: Row, kind: str) -> str:
    """Return a text, or a sentence if it is damaged, so that the rest of the record is still served."""
    try:
        return await _text(call, row, kind)
    except ContentDamaged as damage:
        return damage_sentence(damage)


def _asks_for_open(condition: QueryFilter) -> bool:
    """Return True if a filter names stored states, which are then matched and shown."""
    if condition.parts:
        return any(_asks_for_open(part) for part in condition.parts)
    return condition.attribute == "status" and condition.method == "equal" and not _OPEN.isdisjoint(condition.values)
