"""Queries that read projects, their keys and platforms, and the wire models of these."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from annals.app.edge.call import Call
from annals.app.queries.page import Page
from annals.app.queries.reading import read_list
from annals.app.queries.schema import schema, text
from annals.app.queries.statements import Sql, search
from annals.app.reads import Lookup
from annals.app.wire import ResourceModel, encode, joined, wire_date
from annals.domain.errors import KeyNotFound, PlatformNotFound, ProjectNotFound
from annals.domain.project import REST
from annals.store.postgres import sql
from annals.store.postgres.database import Row

QUERIES = sql.load(__package__, "queries.sql")
ONE = Lookup(QUERIES["projects"], 1)
KEYS = Lookup(QUERIES["keys"], 1)
PLATFORMS = Lookup(QUERIES["platforms"], 1)
LIST = schema("projects", "project_id", "Project", name=text("name"))
_SEARCHED = "project_id || ' ' || name"
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


class ProjectModel(ResourceModel, rename="camel", kw_only=True):
    """One project. The fields without a value belong to services that Annals does not serve."""

    name: str
    team_id: str = ""
    region: str
    description: str = ""
    labels: list[str] = msgspec.field(default_factory=list)
    status: str = "active"
    onboarding: dict[str, Any] = msgspec.field(default_factory=dict)
    auth_methods: Sequence[SwitchModel]
    services: Sequence[SwitchModel]
    protocols: Sequence[SwitchModel]
    blocks: list[Any] = msgspec.field(default_factory=list)
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


class KeyModel(ResourceModel, rename="camel", kw_only=True):
    """One API key. Its `secret` is only in the answer that creates it."""

    name: str
    description: str = ""
    expire: str
    scopes: Sequence[str]
    secret: str
    accessed_at: str = ""
    sdks: list[str] = msgspec.field(default_factory=list)


class PlatformModel(ResourceModel, rename="camel", kw_only=True):
    """A platform on which a project's client runs."""

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


async def read_project(call: Call, project_id: str) -> bytes:
    """Return one project as JSON. Raises ProjectNotFound."""
    found = await call.services.reads.look_up(ONE, project_id)
    call.seen(found.position)
    if not found.rows:
        raise ProjectNotFound
    return encode(present_project(found.rows[0], call.services.settings.region))


async def read_projects(call: Call, page: Page, searched: str | None, *, counted: bool) -> bytes:
    """Return a page of all projects as JSON."""
    scope = search(searched, _SEARCHED) if searched is not None else Sql("true")
    found = await read_list(call, page, LIST, scope, counted=counted, cursor_scope=Sql("true"))
    region = call.services.settings.region
    return joined("projects", found.total, [encode(present_project(row, region)) for row in found.rows])


async def read_keys(call: Call, project_id: str) -> bytes:
    """Return a project's keys as JSON. Raises ProjectNotFound."""
    rows = await _read_parts(call, KEYS, project_id)
    return joined("keys", len(rows), [encode(present_key(row)) for row in rows])


async def read_key(call: Call, project_id: str, key_id: str) -> bytes:
    """Return one key as JSON. Raises ProjectNotFound, KeyNotFound."""
    row = next((row for row in await _read_parts(call, KEYS, project_id) if row["key_id"] == key_id), None)
    if row is None:
        raise KeyNotFound
    return encode(present_key(row))


async def read_platforms(call: Call, project_id: str) -> bytes:
    """Return a project's platforms as JSON. Raises ProjectNotFound."""
    rows = await _read_parts(call, PLATFORMS, project_id)
    return joined("platforms", len(rows), [encode(present_platform(row)) for row in rows])


async def read_platform(call: Call, project_id: str, platform_id: str) -> bytes:
    """Return one platform as JSON. Raises ProjectNotFound, PlatformNotFound."""
    row = next(
        (row for row in await _read_parts(call, PLATFORMS, project_id) if row["platform_id"] == platform_id), None
    )
    if row is None:
        raise PlatformNotFound
    return encode(present_platform(row))


async def _read_parts(call: Call, lookup: Lookup, project_id: str) -> list[Row]:
    project = call.services.reads.look_up(ONE, project_id)
    found = await call.services.reads.look_up(lookup, project_id)
    if not (await project).rows:
        raise ProjectNotFound
    call.seen(found.position)
    return list(found.rows)
