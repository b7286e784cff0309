"""The operations on dead letters, for keys and admins only: dead letters come from all callers of a function."""

import asyncio

import structlog

from annals.app.as_of.rows import read_parent
from annals.app.dead_letters import schemas
from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.dry_run import WouldRecord
from annals.app.executions import schemas as executions
from annals.app.identity.scopes import EXECUTIONS_READ, EXECUTIONS_WRITE
from annals.app.parameters import Parameters, Uid, optional, required
from annals.app.queries.page import ListQueries, Page, list_parameters
from annals.app.queries.reading import PageRows, read_list
from annals.app.queries.schema import integer, schema, text
from annals.app.queries.statements import Sql
from annals.app.wire import encode, joined
from annals.application.executions.redrive import Redriver
from annals.domain.commands.executions import discard_execution
from annals.domain.errors import DeadLetterNotFound, ExecutionNotFound, FunctionNotFound, UserUnauthorized
from annals.domain.execution import Execution
from annals.store.errors import ContentDamaged
from annals.store.log.log import Recorded

log = structlog.get_logger(__name__)
MOST_REDRIVEN = 100
"""Dead letters that one request redrives unless a limit says otherwise; asking again goes on."""

_AT_ONCE = 16
_LEFT_OUT = DeadLetterNotFound | WouldRecord | ContentDamaged


SCHEMA = schema(
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
    return await read_list(call, page, SCHEMA, scope, counted=counted, limit=limit)


LIST = list_parameters(SCHEMA, functionId=required(Uid()))
ONE = Parameters(functionId=required(Uid()), executionId=required(Uid()))
MANY = Parameters(functionId=required(Uid()), queries=optional(ListQueries(SCHEMA), Page()))


class DeadLetterController(operation.ResourceController):
    path = "/v1/functions/{functionId:str}/dead-letters"

    @operation.get(scopes=EXECUTIONS_READ, parameters=LIST)
    async def list_dead_letters(self, call: Call) -> Answer:
        values = call.values
        found = await read_dead_letters(
            call, values["functionId"], await _function(call), values["queries"], counted=values["total"]
        )
        return raw_json_answer(
            joined("deadLetters", found.total, [encode(schemas.present(row)) for row in found.rows])
        )  # fmt: skip

    @operation.post("/redrive", scopes=EXECUTIONS_WRITE, parameters=MANY)
    async def redrive_many(self, call: Call) -> Answer:
        """Redrive matching dead letters, oldest first; skip those that another request redrove meanwhile.

        A dead letter with damaged input stays. The answer is its error if none was redriven.
        """
        function_id, incarnation, page = call.values["functionId"], await _function(call), call.values["queries"]
        found = await read_dead_letters(call, function_id, incarnation, page, counted=True, limit=MOST_REDRIVEN)
        ids = [row["execution_id"] for row in found.rows]
        done: list[schemas.RedrivenModel] = []
        would: list[Recorded] = []
        damaged: list[ContentDamaged] = []
        for first in range(0, len(ids), _AT_ONCE):
            outcomes = await asyncio.gather(
                *(_redrive(call, function_id, incarnation, own_id) for own_id in ids[first : first + _AT_ONCE]),
                return_exceptions=True,
            )
            would += [outcome.recorded for outcome in outcomes if isinstance(outcome, WouldRecord)]
            damaged += [outcome for outcome in outcomes if isinstance(outcome, ContentDamaged)]
            for outcome in outcomes:
                if isinstance(outcome, BaseException) and not isinstance(outcome, _LEFT_OUT):
                    raise outcome
            done += [outcome[0] for outcome in outcomes if not isinstance(outcome, BaseException)]
        if would:
            raise WouldRecord.all(would)
        for damage in damaged:
            if not done:
                raise damage
            log.error("content_damaged", error=str(damage))
        remaining = max(0, found.total - len(ids)) + len(damaged)
        return json_answer(schemas.RedrivenListModel(total=len(done), remaining=remaining, redriven=done), status=202)

    @operation.post("/{executionId:str}/redrive", scopes=EXECUTIONS_WRITE, parameters=ONE)
    async def redrive_one(self, call: Call) -> Answer:
        values = call.values
        _, recorded = await _redrive(call, values["functionId"], await _function(call), values["executionId"])
        row = recorded.rows["executions"][-1]
        return json_answer(executions.present(row, executions.NO_OUTPUT, call.api_version), status=202)

    @operation.delete("/{executionId:str}", scopes=EXECUTIONS_WRITE, parameters=ONE)
    async def discard(self, call: Call) -> Answer:
        values = call.values
        incarnation = await _function(call)
        try:
            recorded = await call.services.log.run(
                discard_execution,
                Execution.key(call.project_id, values["executionId"]),
                meta=await call.meta(),
                function_id=values["functionId"],
                incarnation=incarnation,
            )
        except (ExecutionNotFound, FunctionNotFound):
            raise DeadLetterNotFound from None
        call.seen(recorded.position)
        return no_content()


async def _redrive(
    call: Call, function_id: str, incarnation: int, execution_id: str
) -> tuple[schemas.RedrivenModel, Recorded]:
    services = call.services
    redriver = Redriver(services.log, services.vault, services.environments, project_id=call.project_id)
    own_id, recorded = await redriver.redrive(
        execution_id, function_id=function_id, incarnation=incarnation, meta=await call.meta(), own_id=call.new_id()
    )
    call.seen(recorded.position)
    return schemas.RedrivenModel(dead_letter_id=execution_id, execution_id=own_id), recorded


async def _function(call: Call) -> int:
    """Return the function's incarnation. Raises UserUnauthorized, FunctionNotFound."""
    if not (await call.caller()).privileged:
        raise UserUnauthorized
    return int((await read_parent(call, call.values["functionId"]))["sequence"])
