"""The operations on functions, their parameters, and the configuration that these make.

One file because parameters, operations and configuration name the same fields.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from annals.app import quotas
from annals.app.as_of.rows import requested_tables, within_function
from annals.app.edge import code_scopes, operation
from annals.app.edge.answers import Answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.declared import Creation
from annals.app.edge.hints import named
from annals.app.edge.negotiation import ApiVersion, translate_function
from annals.app.functions import queries
from annals.app.identity.scopes import FUNCTIONS_READ, FUNCTIONS_WRITE
from annals.app.installations.queries import require_installation
from annals.app.parameters import (
    UNIQUE,
    ArrayList,
    Boolean,
    Cron,
    CustomId,
    Events,
    IntegerRange,
    Nullable,
    OneOf,
    Parameters,
    Roles,
    SpecificationSlug,
    Text,
    Uid,
    optional,
    required,
)
from annals.app.queries.page import list_parameters
from annals.app.services import Services
from annals.application.deployment_requests import DeploymentOwner, connected, request_fetch
from annals.domain.catalogue import default_specification
from annals.domain.commands.functions import activate_deployment, revise_function
from annals.domain.deployment import Deployment
from annals.domain.errors import FunctionNotFound, FunctionRuntimeUnsupported
from annals.domain.event_names import is_emitted
from annals.domain.function import Configuration, Function, require_complete_repository
from annals.domain.runtimes import RUNTIMES
from annals.domain.scopes import PROJECT_SCOPES
from annals.store.content.contents import UPLOADS, deployment_prefix
from annals.store.ids import generate_id
from annals.store.log.log import Recorded
from annals.store.postgres.database import Row

ONE = Parameters(functionId=required(Uid()))
ACTIVATE = Parameters(functionId=required(Uid()), deploymentId=required(Uid()))
_MOST_NAMED = 3
_PAGE = list_parameters(queries.LIST, has_search=True)
_FORMER_PAGE = list_parameters(queries.FORMER_LIST, has_search=True)
_FIELDS = {
    "name": "name",
    "runtime": "runtime",
    "execute": "execute",
    "events": "events",
    "schedule": "schedule",
    "timeout": "timeout",
    "enabled": "enabled",
    "logging": "logging",
    "entrypoint": "entrypoint",
    "commands": "commands",
    "scopes": "scopes",
    "installation_id": "installationId",
    "provider_repository_id": "providerRepositoryId",
    "provider_branch": "providerBranch",
    "provider_root_directory": "providerRootDirectory",
    "provider_silent_mode": "providerSilentMode",
    "provider_branches": "providerBranches",
    "provider_paths": "providerPaths",
    "deployment_retention": "deploymentRetention",
}
"""The configuration's fields and the names of the parameters that set them."""


def page_parameters(call: Call) -> Parameters:
    """Return the parameters of listFunctions."""
    return _FORMER_PAGE if call.api_version.former_names else _PAGE


def create_parameters(call: Call) -> Parameters:
    """Return the parameters of createFunction."""
    return _creation(*_limits(call))


def update_parameters(call: Call) -> Parameters:
    """Return the parameters of updateFunction."""
    return _update_table(*_limits(call))


def _limits(call: Call) -> tuple[int, tuple[str, ...], int]:
    services = call.services
    return services.settings.function_timeout_max_s, tuple(services.specifications), call.api_version.most_scopes


@lru_cache(maxsize=8)
def _creation(longest: int, slugs: tuple[str, ...], most_scopes: int) -> Parameters:
    return Parameters(
        functionId=required(CustomId()),
        name=required(Text(128)),
        runtime=required(OneOf(tuple(RUNTIMES))),
        execute=optional(Roles(100), []),
        events=optional(Events(100), []),
        schedule=optional(Cron(), ""),
        timeout=optional(IntegerRange(1, longest), min(15, longest)),
        enabled=optional(Boolean(), True),
        logging=optional(Boolean(), True),
        entrypoint=optional(Text(1028, 0), ""),
        commands=optional(Text(8192, 0), ""),
        scopes=optional(ArrayList(OneOf(PROJECT_SCOPES), most_scopes), []),
        installationId=optional(Text(128, 0), ""),
        providerRepositoryId=optional(Text(128, 0), ""),
        providerBranch=optional(Text(128, 0), ""),
        providerSilentMode=optional(Boolean(), False),
        providerRootDirectory=optional(Text(128, 0), ""),
        providerBranches=optional(ArrayList(Text(128), 100), []),
        providerPaths=optional(ArrayList(Text(128), 100), []),
        specification=optional(SpecificationSlug(slugs)),
        buildSpecification=optional(SpecificationSlug(slugs)),
        runtimeSpecification=optional(SpecificationSlug(slugs)),
        deploymentRetention=optional(IntegerRange(0, 36500), 0),
        templateRepository=optional(Text(128, 0), ""),
        templateOwner=optional(Text(128, 0), ""),
        templateRootDirectory=optional(Text(128, 0), ""),
        templateVersion=optional(Text(128, 0), ""),
    )


@lru_cache(maxsize=8)
def _update_table(longest: int, slugs: tuple[str, ...], most_scopes: int) -> Parameters:
    lines = {
        name: line for name, line in _creation(longest, slugs, most_scopes).lines if not name.startswith("template")
    }
    return Parameters(**{**lines, "functionId": required(Uid())}).but(
        runtime=optional(OneOf(tuple(RUNTIMES))),
        providerRepositoryId=optional(Nullable(Text(128, 0))),
        providerBranches=optional(Nullable(ArrayList(Text(128), 100))),
        providerPaths=optional(Nullable(ArrayList(Text(128), 100))),
        buildSpecification=optional(Nullable(SpecificationSlug(slugs))),
        runtimeSpecification=optional(Nullable(SpecificationSlug(slugs))),
    )


def configuration(values: Mapping[str, Any], services: Services) -> dict[str, Any]:
    """Return the fields of a new function's configuration. The default specification is the largest that is offered."""
    default = values["specification"] or default_specification(services.specifications).slug
    return {
        **{field: values[name] for field, name in _FIELDS.items()},
        "build_specification": values["buildSpecification"] or default,
        "runtime_specification": values["runtimeSpecification"] or default,
    }


def revision(values: Mapping[str, Any], services: Services, api_version: ApiVersion) -> dict[str, Any]:
    """Return the fields that an update names, and None for unchanged ones. Older API versions reset the specifications
    that an update does not name."""
    reset = None if api_version.splits_specification else default_specification(services.specifications).slug
    default = values["specification"] or reset
    return {
        **{field: values[name] for field, name in _FIELDS.items()},
        "build_specification": values["buildSpecification"] or default,
        "runtime_specification": values["runtimeSpecification"] or default,
    }


class FunctionController(operation.ResourceController):
    path = "/v1/functions"

    @operation.get(scopes=FUNCTIONS_READ, parameters=page_parameters, as_of=True)
    async def list_functions(self, call: Call) -> Answer:
        values, tables = call.values, await requested_tables(call)
        page, searched, counted = values["queries"], values["search"], values["total"]
        return raw_json_answer(await queries.read_functions(call, page, searched, counted=counted, tables=tables))

    @operation.get("/{functionId:str}", scopes=FUNCTIONS_READ, parameters=ONE, as_of=True)
    async def get(self, call: Call) -> Answer:
        tables = await requested_tables(call)
        return raw_json_answer(await queries.read_function(call, call.values["functionId"], tables))

    @operation.post(
        scopes=FUNCTIONS_WRITE,
        parameters=create_parameters,
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
            Function.create,
            Function.absent(call.project_id, function_id),
            meta=await call.meta(),
            project_id=call.project_id,
            function_id=function_id,
            configuration=msgspec.convert(configuration(values, services), Configuration),
        )
        if values["providerRepositoryId"]:
            await _request_first(call, recorded.rows["functions"][0])
        return raw_json_answer(await _present(call, function_id, recorded), status=201)

    @operation.put(
        "/{functionId:str}",
        scopes=FUNCTIONS_WRITE,
        parameters=update_parameters,
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
            sent=revision(call.values, call.services, call.api_version),
        )
        if any(isinstance(event, Function.Updated) and event.connected for event in recorded.events):
            await _request_first(call, recorded.rows["functions"][0])
        return raw_json_answer(await _present(call, function_id, recorded))

    @operation.delete("/{functionId:str}", scopes=FUNCTIONS_WRITE, parameters=ONE)
    async def delete(self, call: Call) -> Answer:
        key = Function.key(call.project_id, call.values["functionId"])
        unfinished = await queries.unfinished_uploads(call, call.values["functionId"])
        recorded = await call.services.log.run(Function.delete, key, meta=await call.meta())
        call.seen(recorded.position)
        for deployment_id in unfinished:
            await call.services.blobs.discard(deployment_prefix(UPLOADS, call.project_id, deployment_id))
        return no_content()

    @operation.patch(
        "/{functionId:str}/deployment",
        scopes=FUNCTIONS_WRITE,
        parameters=ACTIVATE,
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
    """Return the function after the append, or the present one if nothing had to be recorded."""
    call.seen(recorded.position)
    rows = recorded.rows.get("functions")
    if not rows:
        return await queries.read_function(call, function_id)
    return await queries.present_rows(call, rows[0], recorded.rows.get("variables", ()))


async def hint(call: Call) -> None:
    """Add hints about events that nothing emits and about a runtime that cannot be built."""
    silent = [pattern for pattern in call.values["events"] if not is_emitted(pattern)]
    if silent:
        listed = ", ".join(named(pattern) for pattern in silent[:_MOST_NAMED])
        more = f" and {len(silent) - _MOST_NAMED} more" if len(silent) > _MOST_NAMED else ""
        call.hint(f"Nothing on this instance emits {listed}{more}: only events of users and teams trigger functions.")
    if call.values["runtime"]:
        call.hint(await call.services.available.lack(call.values["runtime"]))
