"""The operations on variables that all functions of a project have. The model is that of a function's variables."""

import msgspec

from annals.app.edge.answers import Answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.idempotency import idempotent
from annals.app.edge.negotiation import translate_variable
from annals.app.edge.routing import Operation
from annals.app.functions.code_scopes import require_of_project
from annals.app.identity.scopes import PROJECT_READ, PROJECT_WRITE
from annals.app.parameters import (
    UNIQUE,
    Boolean,
    CustomId,
    ListQueries,
    Nullable,
    Parameters,
    Text,
    Uid,
    optional,
    required,
)
from annals.app.queries.page import Page
from annals.app.queries.reading import read_page
from annals.app.queries.statements import Sql, listing
from annals.app.reads import Lookup
from annals.app.variables import schemas
from annals.app.variables.queries import LIST as OF_FUNCTION
from annals.app.variables.queries import ONE as ONE_OF_FUNCTION
from annals.app.variables.values import shown_value
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


async def list_variables(call: Call) -> Answer:
    page: Page = call.values["queries"]
    scope = Sql("project_id = %s AND function_id = ''", (call.project_id,))
    statements = listing(page, _LIST, scope, columns="*", project=call.project_id, cursor_scope=scope)
    found = await read_page(call, statements, cursor=page.cursor, noun=_LIST.noun, counted=call.values["total"])
    return raw_json_answer(joined("variables", found.total, [await _present(call, row) for row in found.rows]))


async def create(call: Call) -> Answer:
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


async def get(call: Call) -> Answer:
    found = await call.services.reads.look_up(_FIND, call.project_id, _OF_NO_FUNCTION, call.values["variableId"])
    call.seen(found.position)
    if not found.rows:
        raise VariableNotFound
    return raw_json_answer(await _present(call, found.rows[0]))


async def update(call: Call) -> Answer:
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


async def delete(call: Call) -> Answer:
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


_ALL, _ONE = "/v1/project/variables", "/v1/project/variables/{variableId}"

ROUTES = (
    Operation("GET", _ALL, list_variables, PROJECT_READ, LIST),
    Operation(
        "POST",
        _ALL,
        idempotent(create, get, "variableId"),
        PROJECT_WRITE,
        CREATE,
        translate_variable,
        code_scopes=require_of_project,
    ),
    Operation("GET", _ONE, get, PROJECT_READ, ONE),
    Operation("PUT", _ONE, update, PROJECT_WRITE, UPDATE, translate_variable, code_scopes=require_of_project),
    Operation("DELETE", _ONE, delete, PROJECT_WRITE, ONE),
)
