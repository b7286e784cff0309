"""The operations on variables of a function, and of all functions of a project. Their values reach the log sealed."""

from typing import Any

from annals.app.as_of.rows import requested_tables
from annals.app.edge import operation
from annals.app.edge.answers import Answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.code_scopes import require_of_function, require_of_project
from annals.app.edge.declared import Creation
from annals.app.edge.negotiation import translate_variable
from annals.app.identity.scopes import FUNCTIONS_READ, FUNCTIONS_WRITE, PROJECT_READ, PROJECT_WRITE
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
from annals.app.queries.page import list_parameters
from annals.app.variables import queries
from annals.domain.base import Key
from annals.domain.errors import ArgumentInvalid
from annals.domain.function import Function
from annals.domain.project import Project
from annals.domain.variables import Variable
from annals.store.log.log import Recorded

_FUNCTION = Parameters(functionId=required(Uid()))
LIST = list_parameters(queries.LIST, functionId=required(Uid()))
PROJECT_LIST = list_parameters(queries.LIST)
PROJECT_CREATE = Parameters(
    variableId=required(CustomId()),
    key=required(Text(255)),
    value=required(Text(8192, 0)),
    secret=optional(Boolean(), True),
)
CREATE = _FUNCTION.but(**dict(PROJECT_CREATE.lines))
PROJECT_ONE = Parameters(variableId=required(Uid()))
ONE = _FUNCTION.but(**dict(PROJECT_ONE.lines))
PROJECT_UPDATE = PROJECT_ONE.but(
    key=optional(Nullable(Text(255))),
    value=optional(Nullable(Text(8192, 0))),
    secret=optional(Nullable(Boolean())),
)
UPDATE = _FUNCTION.but(**dict(PROJECT_UPDATE.lines)).but(key=optional(Nullable(Text(255, 0))))
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
        return await _add(call, Function.add_variable)

    @operation.put(
        "/{variableId:str}",
        scopes=FUNCTIONS_WRITE,
        parameters=_update,
        translate=translate_variable,
        code_scopes=require_of_function,
    )
    async def update(self, call: Call) -> Answer:
        return await _change(call, Function.change_variable)

    @operation.delete("/{variableId:str}", scopes=FUNCTIONS_WRITE, parameters=ONE)
    async def delete(self, call: Call) -> Answer:
        return await _remove(call, Function.remove_variable)


class ProjectVariableController(operation.ResourceController):
    """Variables that all functions of a project have."""

    path = "/v1/project/variables"

    @operation.get(scopes=PROJECT_READ, parameters=PROJECT_LIST)
    async def list_variables(self, call: Call) -> Answer:
        page, counted = call.values["queries"], call.values["total"]
        return raw_json_answer(await queries.read_project_variables(call, page, counted=counted))

    @operation.get("/{variableId:str}", scopes=PROJECT_READ, parameters=PROJECT_ONE)
    async def get(self, call: Call) -> Answer:
        return raw_json_answer(await queries.read_project_variable(call, call.values["variableId"]))

    @operation.post(
        scopes=PROJECT_WRITE,
        parameters=PROJECT_CREATE,
        translate=translate_variable,
        code_scopes=require_of_project,
        creates=Creation(get, "variableId"),
    )
    async def create(self, call: Call) -> Answer:
        return await _add(call, Project.add_variable)

    @operation.put(
        "/{variableId:str}",
        scopes=PROJECT_WRITE,
        parameters=PROJECT_UPDATE,
        translate=translate_variable,
        code_scopes=require_of_project,
    )
    async def update(self, call: Call) -> Answer:
        return await _change(call, Project.change_variable)

    @operation.delete("/{variableId:str}", scopes=PROJECT_WRITE, parameters=PROJECT_ONE)
    async def delete(self, call: Call) -> Answer:
        return await _remove(call, Project.remove_variable)


def _owner(call: Call) -> Key:
    """Return the key of the function in the path, or of the project."""
    function_id = call.values.get("functionId")
    return Project.key(call.project_id) if function_id is None else Function.key(call.project_id, function_id)


async def _add(call: Call, command: Any) -> Answer:
    values, key = call.values, _owner(call)
    variable_id = call.new_id() if values["variableId"] == UNIQUE else values["variableId"]
    sealed, fingerprint = await _seal(call, key.stream, variable_id, values["value"])
    recorded = await call.services.log.run(
        command,
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


async def _change(call: Call, command: Any) -> Answer:
    values, key = call.values, _owner(call)
    variable_id, value, secret = values["variableId"], values["value"], values["secret"]
    if values["key"] is None and value is None and secret is None:
        (await call.services.log.load(key)).variable(variable_id)
        raise ArgumentInvalid("Send at least one of key, value and secret.")
    sealed = None if value is None else await _seal(call, key.stream, variable_id, value)
    recorded = await call.services.log.run(
        command,
        key,
        meta=await call.meta(),
        variable_id=variable_id,
        key=values["key"],
        sealed=sealed,
        secret=secret,
    )
    return raw_json_answer(await _present(call, variable_id, recorded))


async def _remove(call: Call, command: Any) -> Answer:
    variable_id = call.values["variableId"]
    recorded = await call.services.log.run(command, _owner(call), meta=await call.meta(), variable_id=variable_id)
    call.seen(recorded.position)
    return no_content()


async def _seal(call: Call, owner: str, variable_id: str, value: str) -> tuple[str, str]:
    """Return the sealed value and its keyed fingerprint."""
    vault, project = call.services.vault, call.project_id
    return await vault.seal(project, owner, variable_id, value), await vault.fingerprint(project, value)


async def _present(call: Call, variable_id: str, recorded: Recorded) -> bytes:
    """Return the variable that the append changed, or the present one if nothing had to be recorded."""
    call.seen(recorded.position)
    rows = recorded.rows.get("variables")
    if rows:
        return await queries.present_row(call, rows[0])
    if "functionId" in call.values:
        return await queries.read_variable(call, call.values["functionId"], variable_id)
    return await queries.read_project_variable(call, variable_id)
