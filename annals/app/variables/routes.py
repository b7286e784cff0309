"""The operations on a function's variables. Their values reach the log only sealed."""

from annals.app.as_of.rows import requested_tables
from annals.app.edge import operation
from annals.app.edge.answers import Answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.code_scopes import require_of_function
from annals.app.edge.declared import Creation
from annals.app.edge.negotiation import translate_variable
from annals.app.identity.scopes import FUNCTIONS_READ, FUNCTIONS_WRITE
from annals.app.parameters import (
    UNIQUE,
    Boolean,
    CustomId,
    Nullable,
    Parameters,
    Text,
    Uid,
    optional,
    required,
)
from annals.app.queries.page import ListQueries, Page
from annals.app.variables import queries
from annals.domain.commands.functions import add_variable, change_variable, remove_variable
from annals.domain.errors import ArgumentInvalid
from annals.domain.function import Function
from annals.domain.variables import Variable
from annals.store.log.log import Recorded

LIST = Parameters(
    functionId=required(Uid()),
    queries=optional(ListQueries(queries.LIST), Page()),
    total=optional(Boolean(loose=True), True),
)
CREATE = Parameters(
    functionId=required(Uid()),
    variableId=required(CustomId()),
    key=required(Text(255)),
    value=required(Text(8192, 0)),
    secret=optional(Boolean(), True),
)
ONE = Parameters(functionId=required(Uid()), variableId=required(Uid()))
UPDATE = ONE.but(
    key=optional(Nullable(Text(255, 0))),
    value=optional(Nullable(Text(8192, 0))),
    secret=optional(Nullable(Boolean())),
)
FORMER_UPDATE = UPDATE.but(key=required(Text(255)))


def _update(call: Call) -> Parameters:
    return UPDATE if call.api_version.names_variables else FORMER_UPDATE


class VariableController(operation.ResourceController):
    path = "/v1/functions/{functionId:str}/variables"

    @operation.get(scopes=FUNCTIONS_READ, parameters=LIST, as_of=True)
    async def list_variables(self, call: Call) -> Answer:
        values, tables = call.values, await requested_tables(call)
        page, counted = values["queries"], values["total"]
        return raw_json_answer(
            await queries.read_variables(call, values["functionId"], page, counted=counted, tables=tables)
        )

    @operation.get("/{variableId:str}", scopes=FUNCTIONS_READ, parameters=ONE, as_of=True)
    async def get(self, call: Call) -> Answer:
        values, tables = call.values, await requested_tables(call)
        return raw_json_answer(await queries.read_variable(call, values["functionId"], values["variableId"], tables))

    @operation.post(
        scopes=FUNCTIONS_WRITE,
        parameters=CREATE,
        translate=translate_variable,
        code_scopes=require_of_function,
        creates=Creation(get, "variableId"),
    )
    async def create(self, call: Call) -> Answer:
        values = call.values
        variable_id = call.new_id() if values["variableId"] == UNIQUE else values["variableId"]
        key = Function.key(call.project_id, values["functionId"])
        sealed, fingerprint = await _seal(call, key.stream, variable_id, values["value"])
        recorded = await call.services.log.run(
            add_variable,
            key,
            meta=await call.meta(),
            variable=Variable(
                variable_id=variable_id,
                key=values["key"],
                sealed=sealed,
                secret=values["secret"],
                fingerprint=fingerprint,
            ),
        )
        return raw_json_answer(await _present(call, variable_id, recorded), status=201)

    @operation.put(
        "/{variableId:str}",
        scopes=FUNCTIONS_WRITE,
        parameters=_update,
        translate=translate_variable,
        code_scopes=require_of_function,
    )
    async def update(self, call: Call) -> Answer:
        values = call.values
        key = Function.key(call.project_id, values["functionId"])
        variable_id, value, secret = values["variableId"], values["value"], values["secret"]
        if values["key"] is None and value is None and secret is None:
            (await call.services.log.load(key)).variable(variable_id)
            raise ArgumentInvalid("Send at least one of key, value and secret.")
        sealed = None if value is None else await _seal(call, key.stream, variable_id, value)
        recorded = await call.services.log.run(
            change_variable,
            key,
            meta=await call.meta(),
            variable_id=variable_id,
            key=values["key"],
            sealed=sealed,
            secret=secret,
        )
        return raw_json_answer(await _present(call, variable_id, recorded))

    @operation.delete("/{variableId:str}", scopes=FUNCTIONS_WRITE, parameters=ONE)
    async def delete(self, call: Call) -> Answer:
        recorded = await call.services.log.run(
            remove_variable,
            Function.key(call.project_id, call.values["functionId"]),
            meta=await call.meta(),
            variable_id=call.values["variableId"],
        )
        call.seen(recorded.position)
        return no_content()


async def _seal(call: Call, owner: str, variable_id: str, value: str) -> tuple[str, str]:
    """The sealed value, and its keyed fingerprint."""
    vault, project = call.services.vault, call.project_id
    return await vault.seal(project, owner, variable_id, value), await vault.fingerprint(project, value)


async def _present(call: Call, variable_id: str, recorded: Recorded) -> bytes:
    call.seen(recorded.position)
    rows = recorded.rows.get("variables")
    if not rows:
        return await queries.read_variable(call, call.values["functionId"], variable_id)
    return await queries.present_row(call, rows[0])
