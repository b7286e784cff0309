"""The operations on executions."""

import asyncio
from datetime import datetime

import structlog
from litestar.response import Stream

from annals.app.as_of.rows import read_parent, requested_tables
from annals.app.edge import operation
from annals.app.edge.answers import Answer, event_answer, json_answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.declared import Creation
from annals.app.edge.event_stream import follow
from annals.app.errors import UnreadableReply
from annals.app.executions import parameters, queries, schemas
from annals.app.executions.output import ExecutionOutput, download
from annals.app.executions.run import Finished, request_of, run_now
from annals.app.identity.caller import Caller
from annals.app.identity.scopes import EXECUTIONS_READ, EXECUTIONS_WRITE
from annals.app.quotas import count_input
from annals.app.reads import Lookup
from annals.app.wire import encode
from annals.application.executions import context as execution_context
from annals.application.executions.accept import accept, seal
from annals.application.executions.context import ACTIVE, Context, context_from
from annals.application.executions.prepare import require_runnable
from annals.domain.commands.executions import cancel_execution, delete_execution
from annals.domain.errors import (
    DeploymentNotFound,
    ExecutionNotFound,
    FunctionNotFound,
    UserUnauthorized,
)
from annals.domain.execution import Execution
from annals.domain.ports import ExecutorUnavailable

CONTEXT = Lookup(ACTIVE, 2)
OF_DEPLOYMENT = Lookup(execution_context.OF_DEPLOYMENT, 2)
CANCEL_SECONDS = 1.0
"""How long the answer to a cancel waits for the executor; a worker stops the run in any case."""

log = structlog.get_logger(__name__)


class ExecutionController(operation.ResourceController):
    path = "/v1/functions"

    @operation.get("/{functionId:str}/executions", scopes=EXECUTIONS_READ, parameters=parameters.LIST, as_of=True)
    async def list_executions(self, call: Call) -> Answer:
        values, tables = call.values, await requested_tables(call)
        page, counted = values["queries"], values["total"]
        return raw_json_answer(
            await queries.read_executions(call, values["functionId"], page, counted=counted, tables=tables)
        )

    @operation.get(
        "/{functionId:str}/executions/{executionId:str}",
        scopes=EXECUTIONS_READ,
        parameters=parameters.ONE,
        as_of=True,
    )
    async def get(self, call: Call) -> Answer:
        values, tables = call.values, await requested_tables(call)
        return raw_json_answer(await queries.read_execution(call, values["functionId"], values["executionId"], tables))

    @operation.post(
        "/{functionId:str}/executions",
        scopes=EXECUTIONS_WRITE,
        parameters=parameters.CREATE,
        body_limit=parameters.REQUEST_LIMIT,
        prefetch=CONTEXT,
        creates=Creation(get, "executionId"),
    )
    async def create(self, call: Call) -> Answer:
        due = parameters.judge(call.values, call.services.now())
        caller = await call.caller()
        return await _run(call, _judge(await _context(call), caller), caller, due)

    @operation.post(
        "/{functionId:str}/deployments/{deploymentId:str}/executions",
        scopes=EXECUTIONS_WRITE,
        parameters=parameters.PREVIEW,
        body_limit=parameters.REQUEST_LIMIT,
        creates=Creation(get, "executionId"),
    )
    async def preview(self, call: Call) -> Answer:
        """Run any deployment that is ready. Only keys and admins may do so: they may also activate it."""
        due = parameters.judge(call.values, call.services.now())
        caller = await call.caller()
        if not caller.privileged:
            raise UserUnauthorized
        found = await call.services.reads.look_up(OF_DEPLOYMENT, call.project_id, call.values["deploymentId"])
        call.seen(found.position)
        context = context_from(found.rows[0]) if found.rows else None
        if context is None or context.function_id != call.values["functionId"]:
            await read_parent(call, call.values["functionId"])
            raise DeploymentNotFound
        return await _run(call, _judge(context, caller), caller, due)

    @operation.get(
        "/{functionId:str}/executions/{executionId:str}/logs", scopes=EXECUTIONS_READ, parameters=parameters.ONE
    )
    async def get_logs(self, call: Call) -> Answer | Stream:
        """Return all that the code wrote. Clients that accept an event stream follow it while the code runs."""
        if not (await call.caller()).privileged:
            raise UserUnauthorized
        row = await queries.read_row(call, call.values["functionId"], call.values["executionId"])
        if "text/event-stream" in call.header(b"accept"):
            return event_answer(follow(ExecutionOutput(call, row)))
        return json_answer(schemas.present_logs(row, await queries.read_output(call, row)))

    @operation.get(
        "/{functionId:str}/executions/{executionId:str}/logs/download",
        scopes=EXECUTIONS_READ,
        parameters=parameters.DOWNLOAD,
        as_of=True,
    )
    async def download_logs(self, call: Call) -> Stream:
        """Return the whole output as a file, which may be longer than the output in the record of an execution."""
        if not (await call.caller()).privileged:
            raise UserUnauthorized
        values, tables = call.values, await requested_tables(call)
        row = await queries.read_row(call, values["functionId"], values["executionId"], tables)
        return await download(call, row, values["output"], tables)

    @operation.patch(
        "/{functionId:str}/executions/{executionId:str}/status", scopes=EXECUTIONS_WRITE, parameters=parameters.ONE
    )
    async def cancel(self, call: Call) -> Answer:
        """Cancel an execution: kill its run, or never start it. Every reader of the execution may do so."""
        function_id, execution_id = call.values["functionId"], call.values["executionId"]
        caller = await call.caller()
        if not (caller.privileged or caller.user_id):  # guests hold the scope, but read no executions
            raise ExecutionNotFound
        row = await queries.read_row(call, function_id, execution_id)
        recorded = await call.services.log.run(
            cancel_execution,
            Execution.key(call.project_id, execution_id),
            meta=await call.meta(),
            function_id=function_id,
            incarnation=row["function_sequence"],
        )
        call.seen(recorded.position)
        execution = recorded.aggregates[0]
        if isinstance(execution, Execution) and execution.epoch:
            await _stop(call, execution_id)
        return raw_json_answer(await queries.read_execution(call, function_id, execution_id))

    @operation.delete(
        "/{functionId:str}/executions/{executionId:str}", scopes=EXECUTIONS_WRITE, parameters=parameters.ONE
    )
    async def delete(self, call: Call) -> Answer:
        function_id, execution_id = call.values["functionId"], call.values["executionId"]
        if not (await call.caller()).privileged:  # users hold the scope, but read no functions
            raise FunctionNotFound
        row = await queries.read_row(call, function_id, execution_id)
        recorded = await call.services.log.run(
            delete_execution,
            Execution.key(call.project_id, execution_id),
            meta=await call.meta(),
            function_id=function_id,
            incarnation=row["function_sequence"],
            stale=row["stale"],
        )
        call.seen(recorded.position)
        return no_content()


async def _run(call: Call, context: Context, caller: Caller, due: datetime | None) -> Answer:
    if call.values["async"]:
        with call.services.accepting.one():
            return await _accept(call, context, caller, due)
    return _reply(call, await run_now(call, context))


async def _stop(call: Call, execution_id: str) -> None:
    """Stop the run at once if its executor can be reached. A worker that follows the log stops it in any case."""
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            await call.services.executor.cancel_execution(call.project_id, execution_id)
    except (ExecutorUnavailable, TimeoutError) as error:
        log.info("cancel_left_to_worker", execution=execution_id, error=str(error))


async def _context(call: Call) -> Context | None:
    found = await (call.prefetched or call.services.reads.look_up(CONTEXT, call.project_id, call.values["functionId"]))
    call.seen(found.position)
    return context_from(found.rows[0]) if found.rows else None


def _judge(context: Context | None, caller: Caller) -> Context:
    """Return the context if this caller may run it now. Raises as `require_runnable`."""
    return require_runnable(context, None if caller.privileged else caller.roles())


async def _accept(call: Call, context: Context, caller: Caller, due: datetime | None) -> Answer:
    """Record a call that runs later, with its sealed input."""
    services = call.services
    request = await request_of(call, caller, scheduled=due is not None)
    sealed = await seal(services.vault, request)
    await count_input(call, caller, sealed.size)
    recorded = await accept(services.log, services.environments, request, context, sealed, due=due)
    if due is None and services.accepting.alone:
        event = services.log.mapper.to_stored_event(recorded.events[0])
        services.accepting.dispatch(event, recorded.position, call.request_id, sealed)
    call.seen(recorded.position)
    row = recorded.rows["executions"][0]
    return json_answer(schemas.present(row, schemas.NO_OUTPUT, call.api_version), status=202)


def _reply(call: Call, finished: Finished) -> Answer:
    """Return the answer in the requested form. Raises UnreadableReply for bytes that JSON cannot hold."""
    if _wants_form(call.header(b"accept")):
        content_type, body = schemas.as_form(finished.execution, finished.body)
        return Answer(201, body, [(b"content-type", content_type)])
    try:
        finished.execution.response_body = finished.body.decode()
    except UnicodeDecodeError:
        raise UnreadableReply from None
    return raw_json_answer(encode(finished.execution), status=201)


def _wants_form(accept: str) -> bool:
    for kind in accept.split(", "):
        word = kind.partition(";")[0].strip().lower()
        if word in {"application/json", "application/*"}:
            return False
        if word in {"multipart/form-data", "multipart/*"}:
            return True
    return False
