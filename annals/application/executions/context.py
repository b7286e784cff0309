"""The context of a run: a function's settings, a deployment, and the environment of its variables.

A synchronous call looks the context up together with the caller's credentials (`ACTIVE` takes arrays of project and
function ids, and numbers its rows by `ord`). A worker uses `Environments.active`. `Environments.of` then opens the
variables, which costs a read only if the function changed since the last time.
"""

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog

from annals.domain.catalogue import SPECIFICATIONS, Specification
from annals.domain.environment import EnvironmentSubject, InstanceInfo, environment, environment_digest
from annals.domain.errors import FunctionNotFound, FunctionRuntimeUnsupported
from annals.domain.function import Function
from annals.domain.policy import Policy, policy_from
from annals.domain.ports import Artefact
from annals.domain.project import Project
from annals.domain.runtimes import RUNTIMES
from annals.store.errors import DataKeyDeleted, VariableUnreadable
from annals.store.postgres import sql
from annals.store.postgres.database import Database

QUERIES = sql.load(__package__, "context.sql")
ACTIVE = QUERIES["active"]
OF_DEPLOYMENT = QUERIES["of_deployment"]
FORMER_DEFAULT = "s-1vcpu-512mb"
"""The specification of a function whose own is no longer offered (http-api.md 10.2)."""

_CACHED = 2000
_ATTEMPTS = 5

log = structlog.get_logger(__name__)


class VariableVault(Protocol):
    """The part of the vault that opens variables: they belong to the stream of a function or project, by id."""

    async def open(self, project: str, owner: str, name: str, sealed: str) -> str: ...


class ContextDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """The deployment to build or run; a missing artefact or source has an empty key."""

    stream: str
    deployment_id: str
    created_at: datetime
    status: str
    type: str
    entrypoint: str
    commands: str
    activate: bool
    source: Artefact
    artefact: Artefact
    origin: Mapping[str, str]


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """A function at one version; `incarnation` is the position of its creation. `deployment` is None if none is active.

    `project_version` is the version of the project's variables, as `version` is the function's. `routed` is True if a
    share of the traffic chose the deployment.
    """

    stream: str
    incarnation: int
    version: int
    project_version: int
    project_id: str
    function_id: str
    name: str
    runtime: str
    execute: list[str]
    enabled: bool
    logging: bool
    timeout: int
    scopes: list[str]
    build_specification: str
    runtime_specification: str
    policy: Policy
    deployment: ContextDeployment | None
    routed: bool = False

    def specification(self, *, building: bool = False) -> Specification:
        """Return the size of its instances, or of its builds, which get at least 1024 MiB."""
        slug = self.build_specification if building else self.runtime_specification
        found = SPECIFICATIONS.get(slug) or SPECIFICATIONS[FORMER_DEFAULT]
        return msgspec.structs.replace(found, memory=max(found.memory, 1024)) if building else found


class Environment(NamedTuple):
    """The variables that code sees, and the digest that keys its instances."""

    variables: Mapping[str, str]
    digest: str


NO_VARIABLES = Environment({}, "")
"""The environment of a run that fails before it has one."""


class Prepared(NamedTuple):
    """A context, and the environment of the same version of its function."""

    context: Context
    environment: Environment


def context_from(row: Mapping[str, Any]) -> Context:
    """Return the context in a row of `ACTIVE` or `OF_DEPLOYMENT`."""
    return Context(
        stream=row["stream_id"],
        incarnation=row["sequence"],
        version=row["version"],
        project_version=row["project_version"],
        project_id=row["project_id"],
        function_id=row["function_id"],
        name=row["name"],
        runtime=row["runtime"],
        execute=row["execute"],
        enabled=row["enabled"],
        logging=row["logging"],
        timeout=row["timeout"],
        scopes=row["scopes"],
        build_specification=row["build_specification"],
        runtime_specification=row["runtime_specification"],
        policy=policy_from(row["policy"]),
        deployment=_deployment(row) if row["deployment_stream"] else None,
    )


class _Opened(NamedTuple):
    """Variables in clear."""

    of_project: dict[str, str]
    of_function: dict[str, str]


class Environments:
    """Opens variables, and caches the environments of each function's last versions; one per process."""

    def __init__(self, database: Database, vault: VariableVault, platform: InstanceInfo) -> None:
        self._database = database
        self._vault = vault
        self._platform = platform
        self._known: OrderedDict[tuple[object, ...], Environment] = OrderedDict()

    def forget(self, project: str | None) -> None:
        """Drop the cached environments of a deleted project, or all with None."""
        stream = "" if project is None else Function.stream(project, "")
        for key in [key for key in self._known if str(key[0]).startswith(stream)]:
            del self._known[key]

    async def active(self, project_id: str, function_id: str) -> Context | None:
        """Return a function with its active deployment; None if the function does not exist."""
        row = await self._database.row(ACTIVE, ([project_id], [function_id]))
        return None if row is None else context_from(row)

    async def of_deployment(self, project_id: str, deployment_id: str) -> Context | None:
        """Return a deployment with its function; None if one of them is gone."""
        row = await self._database.row(OF_DEPLOYMENT, ([project_id], [deployment_id]))
        return None if row is None else context_from(row)

    async def routed(self, context: Context, execution_id: str, *, former: str | None = None) -> Context:
        """Return a function with the deployment that runs an execution; only this method decides that.

        The policy's traffic chooses by the id. A retry runs the deployment of its `former` attempt, or the active one
        if that is empty, gone or not ready. Without an active deployment none runs.
        """
        active, chosen = context.deployment, context.policy.share_of(execution_id) if former is None else former
        if active is None or not chosen:
            return context
        if chosen == active.deployment_id:
            return msgspec.structs.replace(context, routed=True)
        found = await self.of_deployment(context.project_id, chosen)
        ready = found is not None and found.deployment is not None and found.deployment.status == "ready"
        if found is None or not ready or found.incarnation != context.incarnation:
            log.info("share_falls_to_active", function=context.stream, deployment=chosen, execution=execution_id)
            return context
        return msgspec.structs.replace(found, routed=True)

    async def of(self, context: Context, *, building: bool = False) -> Prepared:
        """Return the environment of a context with a deployment; an outdated context is read again.

        Raises FunctionNotFound, FunctionRuntimeUnsupported, VariableUnreadable, SealBroken, MasterKeyWrong,
        StoreUnavailable.
        """
        for _ in range(_ATTEMPTS):
            deployment = context.deployment
            if deployment is None:
                break
            versions = (context.version, context.project_version)
            key = (context.stream, context.incarnation, *versions, deployment.stream, building)
            known = self._known.get(key)
            if known is None:
                opened = await self._open(context)
                if opened is None:
                    context = await self._read_again(context)
                    continue
                known = self._known[key] = self._make(context, deployment, opened, building=building)
                if len(self._known) > _CACHED:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            return Prepared(context, known)
        raise FunctionNotFound

    async def _open(self, context: Context) -> _Opened | None:
        """Return the variables of exactly the context's versions; None if the function or its project changed since."""
        row = await self._database.row(QUERIES["variables"], (context.stream,))
        wanted = (context.incarnation, context.version, context.project_version)
        if row is None or (row["sequence"], row["version"], row["project_version"]) != wanted:
            return None
        opened = _Opened({}, {})
        for variable_id, function_id, key, sealed in zip(
            row["ids"], row["functions"], row["keys"], row["sealed"], strict=True
        ):
            owner = context.stream if function_id else Project.stream(context.project_id)
            into = opened.of_function if function_id else opened.of_project
            try:
                into[key] = await self._vault.open(context.project_id, owner, variable_id, sealed)
            except DataKeyDeleted:
                raise VariableUnreadable(key) from None
        return opened

    async def _read_again(self, context: Context) -> Context:
        deployment = context.deployment
        found = (
            await self.active(context.project_id, context.function_id)
            if deployment is None
            else await self.of_deployment(context.project_id, deployment.deployment_id)
        )
        if found is None or found.incarnation != context.incarnation:
            raise FunctionNotFound
        return msgspec.structs.replace(found, routed=context.routed)

    def _make(self, context: Context, deployment: ContextDeployment, opened: _Opened, *, building: bool) -> Environment:
        runtime = RUNTIMES.get(context.runtime)
        if runtime is None:
            raise FunctionRuntimeUnsupported
        size = context.specification(building=building)
        subject = EnvironmentSubject(
            project_id=context.project_id,
            function_id=context.function_id,
            function_name=context.name,
            deployment_id=deployment.deployment_id,
            deployment_type=deployment.type,
            runtime_name=runtime.name,
            runtime_version=runtime.version,
            cpus=size.cpus,
            memory_mb=size.memory,
        )
        variables = environment(
            self._platform,
            subject,
            project_variables=opened.of_project,
            function_variables=opened.of_function,
            origin=deployment.origin,
        )
        return Environment(
            variables, environment_digest(variables, runtime=context.runtime, entrypoint=deployment.entrypoint)
        )


def _deployment(row: Mapping[str, Any]) -> ContextDeployment:
    return ContextDeployment(
        stream=row["deployment_stream"],
        deployment_id=row["deployment_id"],
        created_at=row["deployment_created_at"],
        status=row["status"],
        type=row["type"],
        entrypoint=row["entrypoint"],
        commands=row["commands"],
        activate=row["activate"],
        source=Artefact(key=row["source_key"], digest=row["source_digest"], size=row["source_size"]),
        artefact=Artefact(key=row["artefact_key"], digest=row["artefact_digest"], size=row["build_size"]),
        origin={
            "APPWRITE_VCS_REPOSITORY_ID": row["provider_repository_id"],
            "APPWRITE_VCS_REPOSITORY_NAME": row["provider_repository_name"],
            "APPWRITE_VCS_REPOSITORY_OWNER": row["provider_repository_owner"],
            "APPWRITE_VCS_REPOSITORY_URL": row["provider_repository_url"],
            "APPWRITE_VCS_REPOSITORY_BRANCH": row["provider_branch"],
            "APPWRITE_VCS_REPOSITORY_BRANCH_URL": row["provider_branch_url"],
            "APPWRITE_VCS_COMMIT_HASH": row["provider_commit_hash"],
            "APPWRITE_VCS_COMMIT_MESSAGE": row["provider_commit_message"],
            "APPWRITE_VCS_COMMIT_URL": row["provider_commit_url"],
            "APPWRITE_VCS_COMMIT_AUTHOR_NAME": row["provider_commit_author"],
            "APPWRITE_VCS_COMMIT_AUTHOR_URL": row["provider_commit_author_url"],
            "APPWRITE_VCS_ROOT_DIRECTORY": row["provider_root_directory"],
        },
    )
