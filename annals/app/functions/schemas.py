"""The wire model of functions, for every API version."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from annals.app.edge.negotiation import ApiVersion
from annals.app.variables.queries import VariableModel
from annals.app.wire import ResourceModel, unset_unless, wire_date

API_VERSION_OF_RUNTIMES = "v5"


class FunctionModel(ResourceModel, rename="camel", kw_only=True):
    """One function. Dates without a value are empty."""

    execute: list[str]
    name: str
    enabled: bool
    live: bool
    logging: bool
    runtime: str
    deployment_retention: int
    deployment: str | UnsetType = UNSET
    deployment_id: str | UnsetType = UNSET
    deployment_created_at: str | UnsetType = UNSET
    latest_deployment_id: str | UnsetType = UNSET
    latest_deployment_created_at: str | UnsetType = UNSET
    latest_deployment_status: str | UnsetType = UNSET
    scopes: list[str] | UnsetType = UNSET
    vars: Sequence[VariableModel]
    events: list[str]
    schedule: str
    timeout: int
    entrypoint: str
    commands: str
    version: str = API_VERSION_OF_RUNTIMES
    installation_id: str
    provider_repository_id: str
    provider_branch: str
    provider_root_directory: str
    provider_silent_mode: bool
    provider_branches: list[str]
    provider_paths: list[str]
    specification: str | UnsetType = UNSET
    build_specification: str | UnsetType = UNSET
    runtime_specification: str | UnsetType = UNSET


_AS_STORED = (
    *("execute", "name", "enabled", "live", "logging", "runtime", "deployment_retention", "events", "schedule"),
    *("timeout", "entrypoint", "commands", "installation_id", "provider_repository_id", "provider_branch"),
    *("provider_root_directory", "provider_silent_mode", "provider_branches", "provider_paths"),
)


def present(row: Mapping[str, Any], variables: Sequence[VariableModel], api_version: ApiVersion) -> FunctionModel:
    """Return the model of a row of `functions` with its variables."""
    later = not api_version.former_names
    split = api_version.knows_scopes and api_version.shows_split_specification
    return FunctionModel(
        id=row["function_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["updated_at"]),
        vars=variables,
        deployment=unset_unless(api_version.former_names, row["deployment_id"]),
        deployment_id=unset_unless(later, row["deployment_id"]),
        deployment_created_at=unset_unless(later, wire_date(row["deployment_created_at"])),
        latest_deployment_id=unset_unless(later, row["latest_deployment_id"]),
        latest_deployment_created_at=unset_unless(later, wire_date(row["latest_deployment_created_at"])),
        latest_deployment_status=unset_unless(later, row["latest_deployment_status"]),
        scopes=unset_unless(api_version.knows_scopes, row["scopes"]),
        specification=unset_unless(api_version.shows_specification, row["build_specification"]),
        build_specification=unset_unless(split, row["build_specification"]),
        runtime_specification=unset_unless(split, row["runtime_specification"]),
        **{name: row[name] for name in _AS_STORED},
    )
