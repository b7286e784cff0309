"""Requests of deployments whose source a worker fetches: of a function's repository, or of a template."""

from collections.abc import Mapping
from typing import Any, Self

import msgspec

from annals.domain.commands.deployments import request_deployment
from annals.domain.deployment import Deployment
from annals.domain.origin import Origin, Remote
from annals.store.log.log import EventLog, Meta, Recorded


class DeploymentOwner(msgspec.Struct, frozen=True):
    """The fields that a new deployment takes from its function. `incarnation` is the position of the function's
    creation."""

    incarnation: int
    entrypoint: str
    commands: str
    installation_id: str = ""
    provider_repository_id: str = ""
    provider_branch: str = ""
    provider_root_directory: str = ""
    provider_silent_mode: bool = False

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the fields of a row of `functions`."""
        return cls(row["sequence"], *(row[name] for name in cls.__struct_fields__[1:]))


def connected(owner: DeploymentOwner, kind: Any, reference: str) -> tuple[Remote, Origin]:
    """Return a reference of a function's repository, and the parts of its origin that are known already."""
    repository_owner, _, name = owner.provider_repository_id.rpartition("/")
    remote = Remote(
        installation_id=owner.installation_id,
        repository_id=owner.provider_repository_id,
        reference_type=kind,
        reference=reference,
        root_directory=owner.provider_root_directory,
        silent=owner.provider_silent_mode,
    )
    origin = Origin(
        repository_id=owner.provider_repository_id,
        repository_owner=repository_owner,
        repository_name=name,
        branch=reference if kind == "branch" else owner.provider_branch,
        commit_hash=reference if kind == "commit" else "",
        root_directory=owner.provider_root_directory,
    )
    return remote, origin


async def request_fetch(
    log: EventLog,
    owner: DeploymentOwner,
    remote: Remote,
    origin: Origin,
    *,
    meta: Meta,
    project_id: str,
    function_id: str,
    deployment_id: str,
    activate: bool,
    duplicate_of: str = "",
) -> Recorded:
    """Record a source to fetch and build. An id that exists already records nothing, and so does a deleted function."""
    return await log.run(
        request_deployment,
        Deployment.absent(project_id, deployment_id),
        meta=meta,
        project_id=project_id,
        function_id=function_id,
        function_incarnation=owner.incarnation,
        deployment_id=deployment_id,
        type="vcs",
        entrypoint=owner.entrypoint,
        commands=owner.commands,
        activate=activate,
        remote=remote,
        origin=origin,
        duplicate_of=duplicate_of,
    )
