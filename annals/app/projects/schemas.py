"""The wire models of projects, their keys and platforms."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from annals.app.wire import wire_date
from annals.domain.project import REST

SERVICES = (
    *("account", "avatars", "databases", "tablesdb", "locale", "health", "project", "storage", "teams", "users"),
    *("vcs", "sites", "functions", "proxy", "graphql", "migrations", "messaging", "advisor", "oauth2"),
)
"""Services that can be switched. Those that Annals does not serve are off in any case."""

PROTOCOLS = (REST,)


class SwitchModel(msgspec.Struct):
    """Whether users and guests are served."""

    id: str = msgspec.field(name="$id")
    enabled: bool


class ProjectModel(msgspec.Struct, rename="camel", kw_only=True):
    """One project. The fields without a value belong to services that Annals does not serve."""

    id: str = msgspec.field(name="$id")
    created_at: str = msgspec.field(name="$createdAt")
    updated_at: str = msgspec.field(name="$updatedAt")
    name: str
    team_id: str = ""
    region: str
    description: str = ""
    labels: list[str] = []
    status: str = "active"
    onboarding: dict[str, Any] = {}
    auth_methods: Sequence[SwitchModel]
    services: Sequence[SwitchModel]
    protocols: Sequence[SwitchModel]
    blocks: list[Any] = []
    smtp_enabled: bool = False
    smtp_sender_name: str = ""
    smtp_sender_email: str = ""
    smtp_reply_to_name: str = ""
    smtp_reply_to_email: str = ""
    smtp_host: str = ""
    smtp_port: int = 0
    smtp_username: str = ""
    smtp_password: str = ""
    smtp_secure: str = ""
    ping_count: int = 0
    pinged_at: str = ""
    console_accessed_at: str = ""


class KeyModel(msgspec.Struct, rename="camel", kw_only=True):
    """One API key. Its `secret` is only in the answer that creates it."""

    id: str = msgspec.field(name="$id")
    created_at: str = msgspec.field(name="$createdAt")
    updated_at: str = msgspec.field(name="$updatedAt")
    name: str
    description: str = ""
    expire: str
    scopes: Sequence[str]
    secret: str
    accessed_at: str = ""
    sdks: list[str] = []


class PlatformModel(msgspec.Struct, rename="camel", kw_only=True):
    """A platform on which a project's client runs."""

    id: str = msgspec.field(name="$id")
    created_at: str = msgspec.field(name="$createdAt")
    updated_at: str = msgspec.field(name="$updatedAt")
    name: str
    type: str
    hostname: str
    key: str
    store: str
    http_user: str = ""
    http_pass: str = ""


def present_project(row: Mapping[str, Any], region: str) -> ProjectModel:
    """Return the model of a row of `projects`."""
    return ProjectModel(
        id=row["project_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["updated_at"]),
        name=row["name"],
        region=region,
        auth_methods=[SwitchModel("email-password", True)],
        services=[SwitchModel(service, service not in row["disabled"]) for service in SERVICES],
        protocols=[SwitchModel(protocol, protocol not in row["disabled"]) for protocol in PROTOCOLS],
    )


def present_key(row: Mapping[str, Any], secret: str = "") -> KeyModel:
    """Return the model of a row of `keys`."""
    return KeyModel(
        id=row["key_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["created_at"]),
        name=row["name"],
        expire=wire_date(row["expires_at"]),
        scopes=row["scopes"],
        secret=secret,
    )


def present_platform(row: Mapping[str, Any]) -> PlatformModel:
    """Return the model of a row of `platforms`."""
    return PlatformModel(
        id=row["platform_id"],
        created_at=wire_date(row["created_at"]),
        updated_at=wire_date(row["created_at"]),
        name=row["name"],
        type=row["type"],
        hostname=row["hostname"],
        key=row["key"],
        store=row["store"],
    )
