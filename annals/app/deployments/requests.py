"""Deployments whose source a worker fetches: from a template, from the function's repository, or from either again."""

import msgspec
import structlog

from annals.app.deployments.queries import find_row, read_owner
from annals.app.edge.call import Call
from annals.app.installations.queries import require_installation
from annals.application.deployment_requests import DeploymentOwner, connected, request_fetch
from annals.domain.deployment import Deployment
from annals.domain.errors import DeploymentNotFound, FunctionNotFound, ProviderRepositoryNotFound
from annals.domain.origin import Origin, Remote
from annals.store.log.log import Meta
from annals.store.postgres.database import Row
from annals.vcs.errors import RepositoryError
from annals.vcs.locating import template_origin

log = structlog.get_logger(__name__)

LOOK_UP_SECONDS = 10.0
"""Seconds that an answer waits for the repository's host. After that the worker looks the commit up."""


async def from_template(call: Call) -> Row:
    """Deploy a template. A connected function's template is committed to its repository first (http-api.md 7.15).

    Raises FunctionNotFound.
    """
    values = call.values
    owner = await read_owner(call, values["functionId"])
    remote = Remote(
        owner=values["owner"],
        name=values["repository"],
        reference_type=values["type"].lower(),
        reference=values["reference"],
        root_directory=values["rootDirectory"],
    )
    origin = template_origin(remote, call.services.settings.git_remotes)
    if owner.provider_repository_id:
        branch, origin = connected(owner, "branch", owner.provider_branch)
        remote = msgspec.structs.replace(branch, template=remote)
    return await request(call, values["functionId"], owner, remote, origin, activate=values["activate"])


async def from_repository(call: Call) -> Row:
    """Deploy a reference of the function's repository.

    Raises FunctionNotFound, InstallationNotFound, ProviderRepositoryNotFound.
    """
    values = call.values
    owner = await read_owner(call, values["functionId"])
    await require_installation(call, owner.installation_id)
    if not owner.provider_repository_id:
        raise ProviderRepositoryNotFound
    remote, origin = connected(owner, values["type"], values["reference"])
    remote, origin = await _looked_up(call, remote, origin)
    return await request(call, values["functionId"], owner, remote, origin, activate=values["activate"])


async def again(call: Call, deployment_id: str, owner: DeploymentOwner, *, activate: bool) -> Row:
    """Fetch a deployment's source again, which never arrived. Raises DeploymentNotFound if it was uploaded."""
    former = await call.services.log.load(Deployment.key(call.project_id, deployment_id))
    if not isinstance(former, Deployment) or former.remote is None:
        raise DeploymentNotFound
    return await request(
        call, former.function_id, owner, former.remote, former.origin, activate=activate, duplicate_of=deployment_id
    )


async def request(
    call: Call,
    function_id: str,
    owner: DeploymentOwner,
    remote: Remote,
    origin: Origin,
    *,
    activate: bool,
    duplicate_of: str = "",
    deployment_id: str = "",
    meta: Meta | None = None,
) -> Row:
    """Record a source to fetch and build. An id that exists already records nothing.

    Raises FunctionNotFound if the function was deleted meanwhile.
    """
    deployment_id = deployment_id or call.new_id()
    recorded = await request_fetch(
        call.services.log,
        owner,
        remote,
        origin,
        meta=meta or await call.meta(),
        project_id=call.project_id,
        function_id=function_id,
        deployment_id=deployment_id,
        activate=activate,
        duplicate_of=duplicate_of,
    )
    call.seen(recorded.position)
    rows = recorded.rows.get("deployments")
    row = rows[-1] if rows else await find_row(call, deployment_id)
    if row is None:
        raise FunctionNotFound
    return row


async def _looked_up(call: Call, remote: Remote, origin: Origin) -> tuple[Remote, Origin]:
    """Return the commit that a reference names, if the host answers in time. The worker then builds exactly that
    commit."""
    try:
        wanted = await call.services.locator.request(call.project_id, remote, origin)
        found = await call.services.repositories.look_up(wanted, seconds=LOOK_UP_SECONDS)
    except RepositoryError as error:
        if error.kind == "repository":
            raise ProviderRepositoryNotFound(error.sentence) from None
        log.info("look_up_left_to_worker", kind=error.kind)
        return remote, origin
    return msgspec.structs.replace(remote, reference_type="commit", reference=found.commit_hash), found
