"""The wire model of installations. It shows no secrets, except a webhook's secret when it is created."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from annals.app.wire import wire_date


class InstallationModel(msgspec.Struct, rename="camel", kw_only=True):
    """One installation. `webhookSecret` is only in the answer that creates it."""

    id: str = msgspec.field(name="$id")
    created_at: str = msgspec.field(name="$createdAt")
    updated_at: str = msgspec.field(name="$updatedAt")
    provider: str
    organization: str
    url: str
    app_id: str
    provider_installation_id: str
    webhook_secret: str | UnsetType = UNSET


def present(row: Mapping[str, Any], *, webhook_secret: str | UnsetType = UNSET) -> InstallationModel:
    """Return the model of a row of `installations`."""
    return InstallationModel(
        id=row["installation_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["updated_at"]),
        provider=row["provider"],
        organization=row["organization"],
        url=row["url"],
        app_id=row["app_id"],
        provider_installation_id=row["provider_installation_id"],
        webhook_secret=webhook_secret,
    )
