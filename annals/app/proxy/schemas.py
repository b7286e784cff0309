"""The wire model of rules."""

from collections.abc import Mapping
from typing import Any

import msgspec

from annals.app.wire import wire_date


class RuleModel(msgspec.Struct, rename="camel", kw_only=True):
    """One rule. A name is served as soon as it resolves to this instance, so every rule counts as verified."""

    id: str = msgspec.field(name="$id")
    created_at: str = msgspec.field(name="$createdAt")
    updated_at: str = msgspec.field(name="$updatedAt")
    domain: str
    type: str = "deployment"
    trigger: str = "manual"
    redirect_url: str = ""
    redirect_status_code: int = 301
    deployment_id: str
    deployment_resource_type: str = "function"
    deployment_resource_id: str
    deployment_vcs_provider_branch: str
    status: str = "verified"
    logs: str = ""
    renew_at: str = ""
    protocol: str = "http"


def present(row: Mapping[str, Any]) -> RuleModel:
    """Return the model of a row of `rules` with its function's `deployment_id`."""
    return RuleModel(
        id=row["rule_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["updated_at"]),
        domain=row["domain"],
        deployment_id=row["deployment_id"],
        deployment_resource_id=row["function_id"],
        deployment_vcs_provider_branch=row["branch"],
    )
