"""The wire model of deployments, for every API version."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from annals.app.edge.negotiation import ApiVersion
from annals.app.wire import ResourceModel, unset_unless, wire_date

MOST_LOG_CHARACTERS = 1_000_000


class DeploymentModel(ResourceModel, rename="camel", kw_only=True):
    """One deployment. `buildId` and the screenshots are part of the contract and always empty."""

    type: str
    resource_id: str
    resource_type: str = "functions"
    entrypoint: str
    size: int | UnsetType = UNSET
    source_size: int | UnsetType = UNSET
    build_size: int
    total_size: int | UnsetType = UNSET
    build_id: str = ""
    activate: bool
    screenshot_light: str | UnsetType = UNSET
    screenshot_dark: str | UnsetType = UNSET
    status: str
    build_logs: str
    build_time: int | UnsetType = UNSET
    build_duration: int | UnsetType = UNSET
    provider_repository_name: str
    provider_repository_owner: str
    provider_repository_url: str
    provider_commit_hash: str
    provider_commit_author_url: str
    provider_commit_author: str
    provider_commit_message: str
    provider_commit_url: str
    provider_branch: str
    provider_branch_url: str


FIELDS = frozenset(field.encode_name for field in msgspec.structs.fields(DeploymentModel))
"""The fields that `select` may name."""

_PROVIDER = tuple(name for name in DeploymentModel.__struct_fields__ if name.startswith("provider_"))


def present(row: Mapping[str, Any], log: str, api_version: ApiVersion) -> DeploymentModel:
    """Return the model of a row of `deployments` with its log."""
    later = not api_version.former_names
    source_size = max(row["source_size"], row["upload_size"])  # `upload_size` is known from the first chunk on
    return DeploymentModel(
        id=row["deployment_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["updated_at"]),
        type=row["type"],
        resource_id=row["function_id"],
        entrypoint=row["entrypoint"],
        size=unset_unless(api_version.former_names, source_size),
        source_size=unset_unless(later, source_size),
        build_size=row["build_size"],
        total_size=unset_unless(later, source_size + row["build_size"]),
        activate=row["activate"],
        screenshot_light=unset_unless(later, ""),
        screenshot_dark=unset_unless(later, ""),
        status=row["status"],
        build_logs=log[-MOST_LOG_CHARACTERS:],
        build_time=unset_unless(api_version.former_names, row["build_duration"]),
        build_duration=unset_unless(later, row["build_duration"]),
        **{name: row[name] for name in _PROVIDER},
    )


def selected(deployment: DeploymentModel, names: frozenset[str]) -> dict[str, Any]:
    """Return the selected fields and those that begin with `$`."""
    fields: dict[str, Any] = msgspec.to_builtins(deployment)
    return {name: value for name, value in fields.items() if name.startswith("$") or name in names}
