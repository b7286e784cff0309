"""The operations on projects, their keys, switches and platforms: for admins, and in part for a project's own keys."""

from datetime import datetime
from typing import Any

from annals.app.edge.answers import Answer, json_answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.dry_run import WouldRecord
from annals.app.edge.idempotency import idempotent
from annals.app.edge.routing import Operation
from annals.app.identity.scopes import (
    PLATFORMS_READ,
    PLATFORMS_WRITE,
    PROJECT_READ,
    PROJECT_WRITE,
    PROJECTS_READ,
    PROJECTS_WRITE,
)
from annals.app.identity.secret_keys import make_key
from annals.app.parameters import (
    UNIQUE,
    ArrayList,
    Boolean,
    CustomId,
    ListQueries,
    Nullable,
    OneOf,
    Parameters,
    Text,
    Uid,
    ValidationError,
    optional,
    required,
)
from annals.app.projects import queries
from annals.app.projects.schemas import PROTOCOLS, SERVICES, present_key, present_platform
from annals.app.queries.page import Page
from annals.app.queries.schema import parse_date
from annals.application.project_deletion import end_project, try_end_project
from annals.domain.base import Key
from annals.domain.commands import projects
from annals.domain.project import Platform, Project
from annals.domain.scopes import PROJECT_SCOPES
from annals.store.log.log import Recorded


class Moment:
    """A date, with its time and offset or without."""

    def parse(self, value: Any) -> datetime:
        moment = parse_date(value) if isinstance(value, str) else None
        if moment is None:
            raise ValidationError(self.describe())
        return moment

    def describe(self) -> str:
        return "Value must be valid date"


LIST = Parameters(
    queries=optional(ListQueries(queries.LIST), Page()),
    search=optional(Text(256)),
    total=optional(Boolean(loose=True), True),
)
CREATE = Parameters(projectId=required(CustomId()), name=required(Text(128)))
ONE = Parameters(projectId=required(Uid()))
KEY = Parameters(
    projectId=required(Uid()),
    name=required(Text(128)),
    scopes=required(ArrayList(OneOf(PROJECT_SCOPES), 200)),
    expire=optional(Nullable(Moment())),
)
PLATFORM_TYPES = (
    *("web", "flutter-web", "flutter-ios", "flutter-android", "flutter-linux", "flutter-macos", "flutter-windows"),
    *("apple-ios", "apple-macos", "apple-watchos", "apple-tvos", "android", "unity", "react-native-ios"),
    "react-native-android",
)
PLATFORM = Parameters(
    projectId=required(Uid()),
    type=required(OneOf(PLATFORM_TYPES)),
    name=required(Text(128)),
    key=optional(Text(256, 0), ""),
    store=optional(Text(256, 0), ""),
    hostname=optional(Text(256, 0), ""),
)
WEB_PLATFORM = Parameters(platformId=required(CustomId()), name=required(Text(128)), hostname=required(Text(256)))


async def list_projects(call: Call) -> Answer:
    values = call.values
    return raw_json_answer(
        await queries.read_projects(call, values["queries"], values["search"], counted=values["total"])
    )  # fmt: skip


async def create(call: Call) -> Answer:
    project_id = _made(call, call.values["projectId"])
    absent, name = Project.absent(project_id), call.values["name"]
    await _run(call, projects.create_project, absent, project_id=project_id, name=name, keys=[])
    return raw_json_answer(await queries.read_project(call, project_id), status=201)


async def get(call: Call) -> Answer:
    return raw_json_answer(await queries.read_project(call, _project(call)))


async def rename(call: Call) -> Answer:
    await _run(call, projects.rename_project, Project.key(_project(call)), name=call.values["name"])
    return await get(call)


async def delete(call: Call) -> Answer:
    log, project_id, meta = call.services.log, _project(call), await call.meta()
    if call.is_dry_run:
        raise WouldRecord.all(await try_end_project(log, project_id, meta))
    recorded = await end_project(log, project_id, meta)
    call.seen(recorded.position)
    return no_content()


async def switch_service(call: Call) -> Answer:
    """By the parameters of either generation: `service` and `status`, or `serviceId` and `enabled`."""
    values = call.values
    service = next(values[name] for name in ("service", "serviceId", "api", "protocolId") if name in values)
    enabled = values["status"] if "status" in values else values["enabled"]
    await _run(call, projects.switch_service, Project.key(_project(call)), service=service, enabled=enabled)
    return await get(call)


async def list_keys(call: Call) -> Answer:
    return raw_json_answer(await queries.read_keys(call, _project(call)))


async def create_key(call: Call) -> Answer:
    values = call.values
    made = make_key(values["name"], values["scopes"], values["expire"])
    recorded = await _run(call, projects.add_key, Project.key(_project(call)), key=made.key)
    return json_answer(present_key(recorded.rows["keys"][0], made.secret), status=201)


async def get_key(call: Call) -> Answer:
    return raw_json_answer(await queries.read_key(call, _project(call), call.values["keyId"]))


async def delete_key(call: Call) -> Answer:
    await _run(call, projects.revoke_key, Project.key(_project(call)), key_id=call.values["keyId"])
    return no_content()


async def list_platforms(call: Call) -> Answer:
    return raw_json_answer(await queries.read_platforms(call, _project(call)))


async def create_platform(call: Call) -> Answer:
    values = call.values
    platform = Platform(
        platform_id=_made(call, values.get("platformId", UNIQUE)),
        type=values.get("type", "web"),
        name=values["name"],
        hostname=values["hostname"].lower(),
        key=values.get("key", ""),
        store=values.get("store", ""),
    )
    recorded = await _run(call, projects.add_platform, Project.key(_project(call)), platform=platform)
    return json_answer(present_platform(recorded.rows["platforms"][0]), status=201)


async def get_platform(call: Call) -> Answer:
    return raw_json_answer(await queries.read_platform(call, _project(call), call.values["platformId"]))


async def delete_platform(call: Call) -> Answer:
    key = Project.key(_project(call))
    await _run(call, projects.remove_platform, key, platform_id=call.values["platformId"])
    return no_content()


def _project(call: Call) -> str:
    """The project of the path, else the one that was named."""
    project_id: str = call.values.get("projectId", call.project_id)
    return project_id


async def _run(call: Call, command: Any, stream: Key, **arguments: Any) -> Recorded:
    recorded = await call.services.log.run(command, stream, meta=await call.meta(), **arguments)
    call.seen(recorded.position)
    return recorded


def _made(call: Call, identifier: str) -> str:
    return call.new_id() if identifier == UNIQUE else identifier


_ALL = "/v1/projects"
_ONE = f"{_ALL}/{{projectId}}"
_KEYS, _PLATFORMS = f"{_ONE}/keys", f"{_ONE}/platforms"
_OWN = "/v1/project"
_A_KEY = ONE.but(keyId=required(Uid()))
_A_PLATFORM = ONE.but(platformId=required(Uid()))
_OWN_PLATFORM = Parameters(platformId=required(Uid()))


def _console(method: str, path: str, handler: Any, parameters: Parameters) -> Operation:
    scopes = PROJECTS_READ if method == "GET" else PROJECTS_WRITE
    return Operation(method, path, handler, scopes, parameters, needs_project=False)


ROUTES = (
    _console("GET", _ALL, list_projects, LIST),
    _console("POST", _ALL, idempotent(create, get, "projectId"), CREATE),
    _console("GET", _ONE, get, ONE),
    _console("PATCH", _ONE, rename, ONE.but(name=required(Text(128)))),
    _console("DELETE", _ONE, delete, ONE),
    _console(
        "PATCH",
        f"{_ONE}/service",
        switch_service,
        ONE.but(service=required(OneOf(SERVICES)), status=required(Boolean())),
    ),
    _console(
        "PATCH", f"{_ONE}/api", switch_service, ONE.but(api=required(OneOf(PROTOCOLS)), status=required(Boolean()))
    ),
    _console("GET", _KEYS, list_keys, ONE),
    _console("POST", _KEYS, create_key, KEY),
    _console("GET", f"{_KEYS}/{{keyId}}", get_key, _A_KEY),
    _console("DELETE", f"{_KEYS}/{{keyId}}", delete_key, _A_KEY),
    _console("GET", _PLATFORMS, list_platforms, ONE),
    _console("POST", _PLATFORMS, create_platform, PLATFORM),
    _console("GET", f"{_PLATFORMS}/{{platformId}}", get_platform, _A_PLATFORM),
    _console("DELETE", f"{_PLATFORMS}/{{platformId}}", delete_platform, _A_PLATFORM),
    Operation("GET", _OWN, get, PROJECT_READ),
    Operation(
        "PATCH",
        f"{_OWN}/services/{{serviceId}}",
        switch_service,
        PROJECT_WRITE,
        Parameters(serviceId=required(OneOf(SERVICES)), enabled=required(Boolean())),
    ),
    Operation(
        "PATCH",
        f"{_OWN}/protocols/{{protocolId}}",
        switch_service,
        PROJECT_WRITE,
        Parameters(protocolId=required(OneOf(PROTOCOLS)), enabled=required(Boolean())),
    ),
    Operation("GET", f"{_OWN}/platforms", list_platforms, PLATFORMS_READ),
    Operation("POST", f"{_OWN}/platforms/web", create_platform, PLATFORMS_WRITE, WEB_PLATFORM),
    Operation("GET", f"{_OWN}/platforms/{{platformId}}", get_platform, PLATFORMS_READ, _OWN_PLATFORM),
    Operation("DELETE", f"{_OWN}/platforms/{{platformId}}", delete_platform, PLATFORMS_WRITE, _OWN_PLATFORM),
)
