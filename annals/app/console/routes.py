"""The operations that consoles and command-line tools need in addition to those on resources."""

from datetime import datetime, timedelta

import msgspec

from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.edge.cors import host_of
from annals.app.errors import UnauthorizedScope
from annals.app.identity.credentials import ACCESS
from annals.app.identity.scopes import CONSOLE, KEYS_WRITE, PROJECTS_WRITE, missing_scopes
from annals.app.parameters import ArrayList, IntegerRange, OneOf, Parameters, Uid, optional, required
from annals.app.wire import ResourceModel, wire_date
from annals.domain.errors import ProjectNotFound, UserUnauthorized
from annals.domain.scopes import PROJECT_SCOPES
from annals.store.secrets.tokens import Claims, ephemeral_key


class VariablesModel(msgspec.Struct):
    """The parts of the instance's configuration that its clients need, under the names of the reference's environment.

    Sizes are in bytes and times in seconds. An empty text stands for a feature that this instance lacks.
    """

    functions: str = msgspec.field(name="_APP_DOMAIN_FUNCTIONS")
    size_limit: int = msgspec.field(name="_APP_COMPUTE_SIZE_LIMIT")
    storage_limit: int = msgspec.field(name="_APP_STORAGE_LIMIT")
    build_timeout: int = msgspec.field(name="_APP_COMPUTE_BUILD_TIMEOUT")
    cname: str = msgspec.field(name="_APP_DOMAIN_TARGET_CNAME")
    a: str = msgspec.field(name="_APP_DOMAIN_TARGET_A", default="")
    aaaa: str = msgspec.field(name="_APP_DOMAIN_TARGET_AAAA", default="")
    caa: str = msgspec.field(name="_APP_DOMAIN_TARGET_CAA", default="")
    sites: str = msgspec.field(name="_APP_DOMAIN_SITES", default="")
    nameservers: str = msgspec.field(name="_APP_DOMAINS_NAMESERVERS", default="")
    force_https: str = msgspec.field(name="_APP_OPTIONS_FORCE_HTTPS", default="disabled")
    usage: str = msgspec.field(name="_APP_USAGE_STATS", default="enabled")
    domains: bool = msgspec.field(name="_APP_DOMAIN_ENABLED", default=True)
    vcs: bool = msgspec.field(name="_APP_VCS_ENABLED", default=True)
    assistant: bool = msgspec.field(name="_APP_ASSISTANT_ENABLED", default=False)


class RegionModel(msgspec.Struct, kw_only=True):
    """The region in which an instance runs."""

    id: str = msgspec.field(name="$id")
    name: str
    available: bool = True
    default: bool = True


class RegionsModel(msgspec.Struct):
    total: int
    regions: list[RegionModel]


class JwtModel(msgspec.Struct):
    """A key with which code may call the API, under the name of older API versions."""

    jwt: str


class EphemeralKeyModel(ResourceModel, rename="camel", kw_only=True):
    """A key that is not stored: it is valid until `expire` and cannot be revoked before."""

    name: str = ""
    description: str = ""
    expire: str
    scopes: list[str]
    secret: str
    accessed_at: str = ""
    sdks: list[str] = msgspec.field(default_factory=list)


_SCOPES = ArrayList(OneOf(PROJECT_SCOPES), 200)
_DURATION = IntegerRange(1, 3600)
EPHEMERAL = Parameters(scopes=required(_SCOPES), duration=required(_DURATION))
PROJECT_JWT = Parameters(
    projectId=required(Uid()), scopes=required(_SCOPES), duration=optional(_DURATION, 900)
)  # fmt: skip


class ConsoleController(operation.ResourceController):
    path = "/v1"

    @operation.get("/console/variables", scopes=CONSOLE, needs_project=False)
    async def variables(self, call: Call) -> Answer:
        settings = call.services.settings
        return json_answer(
            VariablesModel(
                functions=settings.functions_domain,
                size_limit=settings.upload_limit_bytes,
                storage_limit=settings.upload_limit_bytes,
                build_timeout=settings.build_timeout_s,
                cname=host_of(settings.endpoint),
                force_https="enabled" if settings.endpoint.startswith("https:") else "disabled",
            )
        )

    @operation.get("/console/regions", needs_project=False)
    async def regions(self, call: Call) -> Answer:
        name = call.services.settings.region
        return json_answer(RegionsModel(1, [RegionModel(id=name, name=name)]))

    @operation.post("/project/keys/ephemeral", scopes=KEYS_WRITE, parameters=EPHEMERAL)
    async def create_ephemeral_key(self, call: Call) -> Answer:
        """Make a key with scopes that its maker holds. It ends with its maker's credential."""
        values, caller, now = call.values, await call.caller(), call.services.now()
        if beyond := missing_scopes(caller, values["scopes"]):
            raise UnauthorizedScope(f"A key cannot hand out the scope {beyond[0]}, which it does not hold itself.")
        key_id = call.new_id()
        expires, secret = await _made(call, call.project_id, key_id, call.api_version.key_prefix)
        key = EphemeralKeyModel(
            id=key_id,
            created_at=wire_date(now),
            updated_at=wire_date(now),
            expire=wire_date(expires),
            scopes=values["scopes"],
            secret=secret,
        )
        return json_answer(key, status=201)

    @operation.post(
        "/projects/{projectId:str}/jwts", scopes=PROJECTS_WRITE, parameters=PROJECT_JWT, needs_project=False
    )
    async def create_project_jwt(self, call: Call) -> Answer:
        """Make a key for an admin, who names the project in the path. Stock tools run functions locally with it."""
        project_id = call.values["projectId"]
        found = await call.services.reads.look_up(ACCESS, project_id, "")
        call.seen(found.position)
        if not found.rows[0]["known"]:
            raise ProjectNotFound
        _, secret = await _made(call, project_id, call.new_id(), "dynamic")
        return json_answer(JwtModel(secret), status=201)


async def _made(call: Call, project_id: str, key_id: str, prefix: str) -> tuple[datetime, str]:
    """Return a new ephemeral key's expiry and text. Raises UserUnauthorized for callers that cannot be its parent."""
    services, caller, values = call.services, await call.caller(), call.values
    if caller.parent is None:  # else a key that is handed out would renew itself
        raise UserUnauthorized(
            "Neither an ephemeral key nor a JWT makes ephemeral keys. Use an API key, or sign in as an admin."
        )
    expires = services.now() + timedelta(seconds=values["duration"])
    if caller.expires_at is not None:
        expires = min(expires, caller.expires_at)
    claims = Claims(
        project_id=project_id,
        scopes=values["scopes"],
        exp=int(expires.timestamp()),
        parent=caller.parent,
        child=f"ephemeral:{key_id}",
        depth=caller.depth,
    )
    return expires, ephemeral_key(claims, await services.signing_secret(project_id), prefix=prefix)
