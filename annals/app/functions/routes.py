"""The operations on functions."""

import msgspec

from annals.app import quotas
from annals.app.as_of.rows import within_function
from annals.app.edge import code_scopes, operation
from annals.app.edge.answers import Answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.declared import Creation
from annals.app.edge.negotiation import translate_function
from annals.app.functions import as_of, parameters, queries
from annals.app.functions.hints import hint
from annals.app.identity.scopes import FUNCTIONS_READ, FUNCTIONS_WRITE
from annals.app.installations.queries import require_installation
from annals.app.parameters import UNIQUE
from annals.application.deployment_requests import DeploymentOwner, connected, request_fetch
from annals.domain.commands.functions import activate_deployment, create_function, delete_function, revise_function
from annals.domain.deployment import Deployment
from annals.domain.errors import FunctionNotFound, FunctionRuntimeUnsupported
from annals.domain.function import Configuration, Function, require_complete_repository
from annals.store.content.contents import UPLOADS, deployment_prefix
from annals.store.ids import generate_id
from annals.store.log.log import Recorded
from annals.store.postgres.database import Row


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
            await _request_first(call, recorded.rows["functions"][0])
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
            await within_function(call, function_id, require_installation(call, call.values["installationId"]))
        recorded = await call.services.log.run(
            revise_function,
            Function.key(call.project_id, function_id),
            meta=await call.meta(),
            sent=parameters.revision(call.values, call.services, call.api_version),
        )
        if any(isinstance(event, Function.Updated) and event.connected for event in recorded.events):
            await _request_first(call, recorded.rows["functions"][0])
        return raw_json_answer(await _present(call, function_id, recorded))

    @operation.delete("/{functionId:str}", scopes=FUNCTIONS_WRITE, parameters=parameters.ONE)
    async def delete(self, call: Call) -> Answer:
        key = Function.key(call.project_id, call.values["functionId"])
        unfinished = await queries.unfinished_uploads(call, call.values["functionId"])
        recorded = await call.services.log.run(delete_function, key, meta=await call.meta())
        call.seen(recorded.position)
        for deployment_id in unfinished:
            await call.services.blobs.discard(deployment_prefix(UPLOADS, call.project_id, deployment_id))
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


async def _request_first(call: Call, function: Row) -> None:
    """Request the first deployment of a function that has just been connected to a repository."""
    owner = DeploymentOwner.of_row(function)
    remote, origin = connected(owner, "branch", owner.provider_branch)
    recorded = await request_fetch(
        call.services.log,
        owner,
        remote,
        origin,
        meta=await call.meta(),
        project_id=call.project_id,
        function_id=function["function_id"],
        deployment_id=generate_id(),
        activate=True,
    )
    call.seen(recorded.position)
    if not recorded.rows.get("deployments"):
        raise FunctionNotFound


async def _present(call: Call, function_id: str, recorded: Recorded) -> bytes:
    """What the append made of the function; when nothing had to be recorded, what it is."""
    call.seen(recorded.position)
    rows = recorded.rows.get("functions")
    if not rows:
        return await queries.read_function(call, function_id)
    return await queries.present_rows(call, rows[0], recorded.rows.get("variables", ()))
