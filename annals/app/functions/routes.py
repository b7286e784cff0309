"""The operations on functions."""

import msgspec

from annals.app import quotas
from annals.app.deployments import requests, uploads
from annals.app.edge import operation
from annals.app.edge.answers import Answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.declared import Creation
from annals.app.edge.negotiation import translate_function
from annals.app.functions import as_of, code_scopes, parameters, queries
from annals.app.functions.hints import hint
from annals.app.identity.scopes import FUNCTIONS_READ, FUNCTIONS_WRITE
from annals.app.installations.queries import require_installation
from annals.app.parameters import UNIQUE
from annals.domain.commands.functions import activate_deployment, create_function, delete_function, revise_function
from annals.domain.deployment import Deployment
from annals.domain.errors import FunctionRuntimeUnsupported
from annals.domain.function import Configuration, Function, require_complete_repository
from annals.store.log.log import Recorded


class FunctionController(operation.ResourceController):
    path = "/v1/functions"

    @operation.get(scopes=FUNCTIONS_READ, parameters=parameters.page, as_of=as_of.list_functions)
    async def list_functions(self, call: Call) -> Answer:
        values = call.values
        body = await queries.read_functions(call, values["queries"], values["search"], counted=values["total"])
        return raw_json_answer(body)

    @operation.get("/{functionId:str}", scopes=FUNCTIONS_READ, parameters=parameters.ONE, as_of=as_of.get)
    async def get(self, call: Call) -> Answer:
        return raw_json_answer(await queries.read_function(call, call.values["functionId"]))

    @operation.post(
        scopes=FUNCTIONS_WRITE,
        parameters=parameters.create,
        translate=translate_function,
        code_scopes=code_scopes.require_given,
        creates=Creation(get, "functionId"),
    )
    async def create(self, call: Call) -> Answer:
        await quotas.count_function(call)
        await hint(call)
        values, services = call.values, call.services
        if values["runtime"] not in services.runtimes:
            raise FunctionRuntimeUnsupported(f'Runtime "{values["runtime"]}" is not supported')
        require_complete_repository(values["providerRepositoryId"], values["installationId"], values["providerBranch"])
        if values["installationId"]:
            await require_installation(call, values["installationId"])
        function_id = call.new_id() if values["functionId"] == UNIQUE else values["functionId"]
        recorded = await services.log.run(
            create_function,
            Function.absent(call.project_id, function_id),
            meta=await call.meta(),
            project_id=call.project_id,
            function_id=function_id,
            configuration=msgspec.convert(parameters.configuration(values, services), Configuration),
        )
        if values["providerRepositoryId"]:
            await requests.first(call, function_id)
        return raw_json_answer(await _present(call, function_id, recorded), status=201)

    @operation.put(
        "/{functionId:str}",
        scopes=FUNCTIONS_WRITE,
        parameters=parameters.update,
        translate=translate_function,
        code_scopes=code_scopes.require_given,
    )
    async def update(self, call: Call) -> Answer:
        function_id = call.values["functionId"]
        await hint(call)
        if call.values["installationId"]:
            await queries.within(call, function_id, require_installation(call, call.values["installationId"]))
        recorded = await call.services.log.run(
            revise_function,
            Function.key(call.project_id, function_id),
            meta=await call.meta(),
            sent=parameters.revision(call.values, call.services, call.api_version),
        )
        if any(isinstance(event, Function.Updated) and event.connected for event in recorded.events):
            await requests.first(call, function_id)
        return raw_json_answer(await _present(call, function_id, recorded))

    @operation.delete("/{functionId:str}", scopes=FUNCTIONS_WRITE, parameters=parameters.ONE)
    async def delete(self, call: Call) -> Answer:
        key = Function.key(call.project_id, call.values["functionId"])
        unfinished = await uploads.unfinished(call, call.values["functionId"])
        recorded = await call.services.log.run(delete_function, key, meta=await call.meta())
        call.seen(recorded.position)
        await uploads.forget_parts(call, *unfinished)
        return no_content()

    @operation.patch(
        "/{functionId:str}/deployment",
        scopes=FUNCTIONS_WRITE,
        parameters=parameters.ACTIVATE,
        code_scopes=code_scopes.require_of_function,
    )
    async def activate(self, call: Call) -> Answer:
        return await activate(call)


async def activate(call: Call) -> Answer:
    """Route a function's executions to a deployment."""
    function_id = call.values["functionId"]
    recorded = await call.services.log.run(
        activate_deployment,
        Function.key(call.project_id, function_id),
        Deployment.key(call.project_id, call.values["deploymentId"]),
        meta=await call.meta(),
    )
    return raw_json_answer(await _present(call, function_id, recorded))


async def _present(call: Call, function_id: str, recorded: Recorded) -> bytes:
    """What the append made of the function; when nothing had to be recorded, what it is."""
    call.seen(recorded.position)
    rows = recorded.rows.get("functions")
    if not rows:
        return await queries.read_function(call, function_id)
    return await queries.present_rows(call, rows[0], recorded.rows.get("variables", ()))
