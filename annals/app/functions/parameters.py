"""The parameter tables of functions, and the configuration that their values make."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from annals.app.edge.call import Call
from annals.app.edge.negotiation import ApiVersion
from annals.app.functions.queries import FORMER_LIST, LIST
from annals.app.parameters import (
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
from annals.app.queries.page import ListQueries, Page
from annals.app.services import Services
from annals.domain.catalogue import default_specification
from annals.domain.runtimes import RUNTIMES
from annals.domain.scopes import PROJECT_SCOPES

ONE = Parameters(functionId=required(Uid()))
ACTIVATE = Parameters(functionId=required(Uid()), deploymentId=required(Uid()))
_SEARCH = {"search": optional(Text(256)), "total": optional(Boolean(loose=True), True)}
_PAGE = Parameters(queries=optional(ListQueries(LIST), Page()), **_SEARCH)
_FORMER_PAGE = Parameters(queries=optional(ListQueries(FORMER_LIST), Page()), **_SEARCH)
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


def page(call: Call) -> Parameters:
    """Return the parameters of listFunctions."""
    return _FORMER_PAGE if call.api_version.former_names else _PAGE


def create(call: Call) -> Parameters:
    """Return the parameters of createFunction."""
    return _create(*_limits(call))


def update(call: Call) -> Parameters:
    """Return the parameters of updateFunction."""
    return _update(*_limits(call))


def _limits(call: Call) -> tuple[int, tuple[str, ...], int]:
    services = call.services
    return services.settings.function_timeout_max_s, tuple(services.specifications), call.api_version.most_scopes


@lru_cache(maxsize=8)
def _create(longest: int, slugs: tuple[str, ...], most_scopes: int) -> Parameters:
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
def _update(longest: int, slugs: tuple[str, ...], most_scopes: int) -> Parameters:
    lines = {name: line for name, line in _create(longest, slugs, most_scopes).lines if not name.startswith("template")}
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
