"""The operations on variables that all functions of a project have. The model is that of a function's variables."""

import msgspec

from annals.app.edge import operation
from annals.app.edge.answers import Answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.code_scopes import require_of_project
from annals.app.edge.declared import Creation
from annals.app.edge.negotiation import translate_variable
from annals.app.identity.scopes import PROJECT_READ, PROJECT_WRITE
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
from annals.app.queries.reading import read_page
from annals.app.queries.statements import Sql, listing
from annals.app.reads import Lookup
from annals.app.variables import schemas
from annals.app.variables.queries import LIST as OF_FUNCTION
from annals.app.variables.queries import ONE as ONE_OF_FUNCTION
from annals.app.variables.queries import shown_value
from annals.app.wire import encode, joined
from annals.domain.commands.projects import add_project_variable, change_project_variable, remove_project_variable
from annals.domain.errors import ArgumentInvalid, VariableNotFound
from annals.domain.project import Project
from annals.domain.variables import Variable
from annals.store.log.log import Recorded
from annals.store.postgres.database import Row

_OF_NO_FUNCTION = ""
_LIST = OF_FUNCTION._replace(
    attributes={
        **OF_FUNCTION.attributes,
        "resourceType": OF_FUNCTION.attributes["resourceType"]._replace(column="'project'::text"),
    }
)
_FIND: Lookup = ONE_OF_FUNCTION

LIST = Parameters(queries=optional(ListQueries(_LIST), Page()), total=optional(Boolean(loose=True), True))
CREATE = Parameters(
    variableId=required(CustomId()),
    key=required(Text(255)),
    value=required(Text(8192, 0)),
    secret=optional(Boolean(), True),
)
ONE = Parameters(variableId=required(Uid()))
UPDATE = ONE.but(
    key=optional(Nullable(Text(255))),
    value=optional(Nullable(Text(8192, 0))),
    secret=optional(Nullable(Boolean())),
)


class ProjectVariableController(operation.ResourceController):
    path = "/v1/project/variables"

    @operation.get(scopes=PROJECT_READ, parameters=LIST)
    async def list_variables(self, call: Call) -> Answer:
        page: Page = call.values["queries"]
        scope = Sql("project_id = %s AND function_id = ''", (call.project_id,))
        statements = listing(page, _LIST, scope, columns="*", project=call.project_id, cursor_scope=scope)
        found = await read_page(call, statements, cursor=page.cursor, noun=_LIST.noun, counted=call.values["total"])
        return raw_json_answer(joined("variables", found.total, [await _present(call, row) for row in found.rows]))

    @operation.get("/{variableId:str}", scopes=PROJECT_READ, parameters=ONE)
    async def get(self, call: Call) -> Answer:
        found = await call.services.reads.look_up(_FIND, call.project_id, _OF_NO_FUNCTION, call.values["variableId"])
        call.seen(found.position)
        if not found.rows:
            raise VariableNotFound
        return raw_json_answer(await _present(call, found.rows[0]))

    @operation.post(
        scopes=PROJECT_WRITE,
        parameters=CREATE,
        translate=translate_variable,
        code_scopes=require_of_project,
        creates=Creation(get, "variableId"),
    )
    async def create(self, call: Call) -> Answer:
        values = call.values
        variable_id = call.new_id() if values["variableId"] == UNIQUE else values["variableId"]
        sealed, fingerprint = await _seal(call, variable_id, values["value"])
        recorded = await call.services.log.run(
            add_project_variable,
            Project.key(call.project_id),
            meta=await call.meta(),
            variable=Variable(
                variable_id=variable_id,
                key=values["key"],
                sealed=sealed,
                secret=values["secret"],
                fingerprint=fingerprint,
            ),
        )
        return raw_json_answer(await _recorded(call, recorded), status=201)

    @operation.put(
        "/{variableId:str}",
        scopes=PROJECT_WRITE,
        parameters=UPDATE,
        translate=translate_variable,
        code_scopes=require_of_project,
    )
    async def update(self, call: Call) -> Answer:
        values, key = call.values, Project.key(call.project_id)
        if values["key"] is None and values["value"] is None and values["secret"] is None:
            (await call.services.log.load(key)).variable(values["variableId"])
            raise ArgumentInvalid("Send at least one of key, value and secret.")
        sealed = None if values["value"] is None else await _seal(call, values["variableId"], values["value"])
        recorded = await call.services.log.run(
            change_project_variable,
            key,
            meta=await call.meta(),
            variable_id=values["variableId"],
            key=values["key"],
            sealed=sealed,
            secret=values["secret"],
        )
        return raw_json_answer(await _recorded(call, recorded))

    @operation.delete("/{variableId:str}", scopes=PROJECT_WRITE, parameters=ONE)
    async def delete(self, call: Call) -> Answer:
        recorded = await call.services.log.run(
            remove_project_variable,
            Project.key(call.project_id),
            meta=await call.meta(),
            variable_id=call.values["variableId"],
        )
        call.seen(recorded.position)
        return no_content()


async def _seal(call: Call, variable_id: str, value: str) -> tuple[str, str]:
    """Return the sealed value and its keyed fingerprint."""
    vault, project = call.services.vault, call.project_id
    sealed = await vault.seal(project, Project.stream(project), variable_id, value)
    return sealed, await vault.fingerprint(project, value)


async def _recorded(call: Call, recorded: Recorded) -> bytes:
    call.seen(recorded.position)
    return await _present(call, recorded.rows["variables"][0])


async def _present(call: Call, row: Row) -> bytes:
    value = await shown_value(call, call.project_id, Project.stream(call.project_id), row)
    return encode(msgspec.structs.replace(schemas.present(row, value), resource_type="project"))
