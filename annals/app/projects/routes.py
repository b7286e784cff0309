"""The operations on projects, their keys, switches and platforms: for admins, and in part for a project's own keys."""

from datetime import datetime
from typing import Any

from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.declared import Creation, Declared
from annals.app.edge.dry_run import WouldRecord
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
from annals.app.projects.queries import PROTOCOLS, SERVICES, present_key, present_platform
from annals.app.queries.page import list_parameters
from annals.app.queries.schema import parse_date
from annals.application.deletion import end_project, try_end_project
from annals.domain.base import Key
from annals.domain.commands import projects
from annals.domain.project import Platform, Project
from annals.domain.scopes import PROJECT_SCOPES
from annals.store.log.log import Recorded


class DateText:
    """A date, with its time and offset or without."""

    def parse(self, value: Any) -> datetime:
        moment = parse_date(value) if isinstance(value, str) else None
        if moment is None:
            raise ValidationError(self.describe())
        return moment

    def describe(self) -> str:
        return "Value must be valid date"


LIST = list_parameters(queries.LIST, has_search=True)
CREATE = Parameters(projectId=required(CustomId()), name=required(Text(128)))
ONE = Parameters(projectId=required(Uid()))
KEY = Parameters(
    projectId=required(Uid()),
    name=required(Text(128)),
    scopes=required(ArrayList(OneOf(PROJECT_SCOPES), 200)),
    expire=optional(Nullable(DateText())),
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
_A_KEY = ONE.but(keyId=required(Uid()))
_A_PLATFORM = ONE.but(platformId=required(Uid()))
_OWN_PLATFORM = Parameters(platformId=required(Uid()))


class ProjectController(operation.ResourceController):
    """For admins, who name the project in the path."""

    path = "/v1/projects"
    opt = Declared(needs_project=False)

    @operation.get(scopes=PROJECTS_READ, parameters=LIST)
    async def list_projects(self, call: Call) -> Answer:
        values = call.values
        return raw_json_answer(
            await queries.read_projects(call, values["queries"], values["search"], counted=values["total"])
        )  # fmt: skip

    @operation.get("/{projectId:str}", scopes=PROJECTS_READ, parameters=ONE)
    async def get(self, call: Call) -> Answer:
        return await _read(call)

    @operation.post(scopes=PROJECTS_WRITE, parameters=CREATE, creates=Creation(get, "projectId"))
    async def create(self, call: Call) -> Answer:
        project_id = _made(call, call.values["projectId"])
        absent, name = Project.absent(project_id), call.values["name"]
        await _run(call, projects.create_project, absent, project_id=project_id, name=name, keys=[])
        return raw_json_answer(await queries.read_project(call, project_id), status=201)

    @operation.patch("/{projectId:str}", scopes=PROJECTS_WRITE, parameters=ONE.but(name=required(Text(128))))
    async def rename(self, call: Call) -> Answer:
        await _run(call, Project.rename, Project.key(_project(call)), name=call.values["name"])
        return await _read(call)

    @operation.delete("/{projectId:str}", scopes=PROJECTS_WRITE, parameters=ONE)
    async def delete(self, call: Call) -> Answer:
        log, project_id, meta = call.services.log, _project(call), await call.meta()
        if call.is_dry_run:
            raise WouldRecord.all(await try_end_project(log, project_id, meta))
        recorded = await end_project(log, project_id, meta)
        call.seen(recorded.position)
        return no_content()

    @operation.patch(
        "/{projectId:str}/service",
        scopes=PROJECTS_WRITE,
        parameters=ONE.but(service=required(OneOf(SERVICES)), status=required(Boolean())),
    )
    async def switch_service(self, call: Call) -> Answer:
        return await _switch(call, call.values["service"], enabled=call.values["status"])

    @operation.patch(
        "/{projectId:str}/api",
        scopes=PROJECTS_WRITE,
        parameters=ONE.but(api=required(OneOf(PROTOCOLS)), status=required(Boolean())),
    )
    async def switch_api(self, call: Call) -> Answer:
        return await _switch(call, call.values["api"], enabled=call.values["status"])

    @operation.get("/{projectId:str}/keys", scopes=PROJECTS_READ, parameters=ONE)
    async def list_keys(self, call: Call) -> Answer:
        return raw_json_answer(await queries.read_keys(call, _project(call)))

    @operation.post("/{projectId:str}/keys", scopes=PROJECTS_WRITE, parameters=KEY)
    async def create_key(self, call: Call) -> Answer:
        values = call.values
        made = make_key(values["name"], values["scopes"], values["expire"])
        recorded = await _run(call, Project.add_key, Project.key(_project(call)), key=made.key)
        return json_answer(present_key(recorded.rows["keys"][0], made.secret), status=201)

    @operation.get("/{projectId:str}/keys/{keyId:str}", scopes=PROJECTS_READ, parameters=_A_KEY)
    async def get_key(self, call: Call) -> Answer:
        return raw_json_answer(await queries.read_key(call, _project(call), call.values["keyId"]))

    @operation.delete("/{projectId:str}/keys/{keyId:str}", scopes=PROJECTS_WRITE, parameters=_A_KEY)
    async def delete_key(self, call: Call) -> Answer:
        await _run(call, Project.revoke_key, Project.key(_project(call)), key_id=call.values["keyId"])
        return no_content()

    @operation.get("/{projectId:str}/platforms", scopes=PROJECTS_READ, parameters=ONE)
    async def list_platforms(self, call: Call) -> Answer:
        return await _list_platforms(call)

    @operation.post("/{projectId:str}/platforms", scopes=PROJECTS_WRITE, parameters=PLATFORM)
    async def create_platform(self, call: Call) -> Answer:
        return await _create_platform(call)

    @operation.get("/{projectId:str}/platforms/{platformId:str}", scopes=PROJECTS_READ, parameters=_A_PLATFORM)
    async def get_platform(self, call: Call) -> Answer:
        return await _read_platform(call)

    @operation.delete("/{projectId:str}/platforms/{platformId:str}", scopes=PROJECTS_WRITE, parameters=_A_PLATFORM)
    async def delete_platform(self, call: Call) -> Answer:
        return await _delete_platform(call)


class OwnProjectController(operation.ResourceController):
    """For a project's own keys: the project is the one that the request names."""

    path = "/v1/project"

    @operation.get(scopes=PROJECT_READ)
    async def get(self, call: Call) -> Answer:
        return await _read(call)

    @operation.patch(
        "/services/{serviceId:str}",
        scopes=PROJECT_WRITE,
        parameters=Parameters(serviceId=required(OneOf(SERVICES)), enabled=required(Boolean())),
    )
    async def switch_service(self, call: Call) -> Answer:
        return await _switch(call, call.values["serviceId"], enabled=call.values["enabled"])

    @operation.patch(
        "/protocols/{protocolId:str}",
        scopes=PROJECT_WRITE,
        parameters=Parameters(protocolId=required(OneOf(PROTOCOLS)), enabled=required(Boolean())),
    )
    async def switch_protocol(self, call: Call) -> Answer:
        return await _switch(call, call.values["protocolId"], enabled=call.values["enabled"])

    @operation.get("/platforms", scopes=PLATFORMS_READ)
    async def list_platforms(self, call: Call) -> Answer:
        return await _list_platforms(call)

    @operation.post("/platforms/web", scopes=PLATFORMS_WRITE, parameters=WEB_PLATFORM)
    async def create_platform(self, call: Call) -> Answer:
        return await _create_platform(call)

    @operation.get("/platforms/{platformId:str}", scopes=PLATFORMS_READ, parameters=_OWN_PLATFORM)
    async def get_platform(self, call: Call) -> Answer:
        return await _read_platform(call)

    @operation.delete("/platforms/{platformId:str}", scopes=PLATFORMS_WRITE, parameters=_OWN_PLATFORM)
    async def delete_platform(self, call: Call) -> Answer:
        return await _delete_platform(call)


async def _read(call: Call) -> Answer:
    return raw_json_answer(await queries.read_project(call, _project(call)))


async def _switch(call: Call, service: str, *, enabled: bool) -> Answer:
    await _run(call, Project.switch_service, Project.key(_project(call)), service=service, enabled=enabled)
    return await _read(call)


async def _list_platforms(call: Call) -> Answer:
    return raw_json_answer(await queries.read_platforms(call, _project(call)))


async def _create_platform(call: Call) -> Answer:
    values = call.values
    platform = Platform(
        platform_id=_made(call, values.get("platformId", UNIQUE)),
        type=values.get("type", "web"),
        name=values["name"],
        hostname=values["hostname"].lower(),
        key=values.get("key", ""),
        store=values.get("store", ""),
    )
    recorded = await _run(call, Project.add_platform, Project.key(_project(call)), platform=platform)
    return json_answer(present_platform(recorded.rows["platforms"][0]), status=201)


async def _read_platform(call: Call) -> Answer:
    return raw_json_answer(await queries.read_platform(call, _project(call), call.values["platformId"]))


async def _delete_platform(call: Call) -> Answer:
    key = Project.key(_project(call))
    await _run(call, Project.remove_platform, key, platform_id=call.values["platformId"])
    return no_content()


def _project(call: Call) -> str:
    """Return the id of the project in the path, or of the one that the request's header names."""
    project_id: str = call.values.get("projectId", call.project_id)
    return project_id


async def _run(call: Call, command: Any, stream: Key, **arguments: Any) -> Recorded:
    recorded = await call.services.log.run(command, stream, meta=await call.meta(), **arguments)
    call.seen(recorded.position)
    return recorded


def _made(call: Call, identifier: str) -> str:
    return call.new_id() if identifier == UNIQUE else identifier
