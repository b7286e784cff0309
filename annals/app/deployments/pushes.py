"""Receives pushes from a repository's host. They are signed, and each makes one deployment, however often it is
sent."""

import hashlib
import hmac
from typing import Annotated

import msgspec
import structlog

from annals.app.deployments.requests import request
from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.identity.caller import PUBLIC
from annals.app.installations.queries import connected_functions
from annals.app.parameters.body import whole
from annals.application.deployment_requests import DeploymentOwner, connected
from annals.domain.decoding import UNREADABLE
from annals.domain.errors import ArgumentInvalid, FunctionNotFound, InstallationNotFound, UserUnauthorized
from annals.domain.origin import Origin, Push, builds, storable
from annals.domain.project import Project
from annals.store.log.log import Meta
from annals.store.postgres.database import Row
from annals.vcs.errors import RepositoryError

BODY_LIMIT = 25 * 1024 * 1024
"""The largest body that GitHub sends."""

_SIGNATURE = b"x-hub-signature-256"
_EVENT = b"x-github-event"
_BRANCHES = "refs/heads/"
_LONGEST_MESSAGE = 255

log = structlog.get_logger(__name__)


Text = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00]*\Z")]
"""A string without NUL, which Postgres cannot hold."""


class Author(msgspec.Struct, frozen=True):
    name: Text = ""


class Commit(msgspec.Struct, frozen=True):
    id: Text = ""
    message: Text = ""
    url: Text = ""
    author: Author = Author()
    added: list[Text] = []
    modified: list[Text] = []
    removed: list[Text] = []


class Account(msgspec.Struct, frozen=True):
    login: Text = ""
    name: Text = ""
    html_url: Text = ""


class PushedRepository(msgspec.Struct, frozen=True):
    id: int | Text = ""
    name: Text = ""
    full_name: Text = ""
    html_url: Text = ""
    owner: Account = Account()


class PushBody(msgspec.Struct):
    """The fields of a push that are read. GitHub, Gitea and Forgejo send them."""

    ref: Text
    repository: PushedRepository
    after: Text = ""
    deleted: bool = False
    forced: bool = False
    commits: list[Commit] = []
    head_commit: Commit | None = None
    sender: Account = Account()


class PushAnswer(msgspec.Struct):
    """The deployments that this push made, now or when it was sent before."""

    deployments: list[str]


class PushController(operation.ResourceController):
    path = "/v1/vcs/installations/{installationId:str}/pushes"

    @operation.post(scopes=PUBLIC, body_limit=BODY_LIMIT, reads_body_itself=True)
    async def receive(self, call: Call) -> Answer:
        return await receive(call)


async def receive(call: Call) -> Answer:
    """Deploy the functions whose branch and paths match a push.

    Raises InstallationNotFound, UserUnauthorized for a signature that is not the installation's, ArgumentInvalid.
    """
    installation_id = call.path_values["installationId"]
    secret = await _secret(call, installation_id)
    signature = call.header(_SIGNATURE)
    data = await whole(call.pieces(), BODY_LIMIT) if signature else b""
    if not _is_signed(data, secret, signature):
        raise UserUnauthorized("The push is not signed with the secret of this installation.")
    if call.header(_EVENT) != "push":
        return json_answer(PushAnswer([]))
    try:
        body = msgspec.json.decode(data, type=PushBody)
    except UNREADABLE as error:
        raise ArgumentInvalid(f"The push cannot be read: {error}") from None
    if body.deleted or not body.ref.startswith(_BRANCHES) or not body.after.strip("0"):
        return json_answer(PushAnswer([]))
    names = [str(body.repository.id), body.repository.full_name, f"{body.repository.full_name}.git"]
    rows = await connected_functions(call, installation_id, [name for name in names if name])
    branch = body.ref.removeprefix(_BRANCHES)
    push = Push(branch=branch, paths=_paths(body))
    made = [
        await _deploy(call, row, body, branch, hashlib.sha256(data).hexdigest())
        for row in rows
        if builds(push, branches=row["provider_branches"], paths=row["provider_paths"])
    ]
    return json_answer(PushAnswer([deployment_id for deployment_id in made if deployment_id]), status=202)


async def _secret(call: Call, installation_id: str) -> bytes:
    """Return the secret with which an installation's host signs. Raises InstallationNotFound, UserUnauthorized."""
    project = await call.services.log.load(Project.key(call.project_id))
    installation = project.installations.get(installation_id)
    if installation is None:
        raise InstallationNotFound
    try:
        credentials = await call.services.locator.credentials(call.project_id, installation)
    except RepositoryError as error:
        log.error("webhook_secret_not_opened", request=call.request_id, why=error.sentence)
        raise UserUnauthorized from None
    return credentials.webhook_secret.encode()


def _is_signed(data: bytes, secret: bytes, signature: str) -> bool:
    signed = "sha256=" + hmac.digest(secret, data, hashlib.sha256).hex()
    return bool(secret) and hmac.compare_digest(signature.encode(), signed.encode())


async def _deploy(call: Call, row: Row, body: PushBody, branch: str, digest: str) -> str:
    """Deploy the pushed commit. The deployment's id is a hash of the push, so that a repeated push finds it."""
    owner = DeploymentOwner.of_row(row)
    key = f"{call.project_id}:{row['function_id']}:{owner.incarnation}:{digest}"
    deployment_id = hashlib.sha256(key.encode()).hexdigest()[:20]
    remote, origin = connected(owner, "commit", body.after)
    try:
        await request(
            call,
            row["function_id"],
            owner,
            remote,
            _pushed_origin(origin, body, branch),
            activate=branch == owner.provider_branch,
            deployment_id=deployment_id,
            meta=Meta(
                actor=f"installation:{owner.installation_id}",
                request=call.request_id,
                correlation=call.request_id,
                address=call.address,
                incarnation=await call.authorized_for(),
            ),
        )
    except FunctionNotFound:
        return ""  # the function was deleted meanwhile
    return deployment_id


def _pushed_origin(origin: Origin, body: PushBody, branch: str) -> Origin:
    """Return the origin with the fields that the push holds of its commit."""
    commit = body.head_commit or next((c for c in body.commits if c.id == body.after), Commit())
    url = body.repository.html_url
    pushed = msgspec.structs.replace(
        origin,
        repository_name=body.repository.name or origin.repository_name,
        repository_owner=body.repository.owner.login or body.repository.owner.name or origin.repository_owner,
        repository_url=url,
        branch=branch,
        branch_url=f"{url}/tree/{branch}" if url else "",
        commit_hash=body.after,
        commit_message=commit.message[:_LONGEST_MESSAGE],
        commit_url=commit.url,
        commit_author=commit.author.name,
        commit_author_url=body.sender.html_url,
    )
    return storable(pushed)


def _paths(body: PushBody) -> frozenset[str] | None:
    """Return the paths that the push changed, or None if they are unknown."""
    if body.forced or not body.commits:
        return None
    return frozenset(path for c in body.commits for path in (*c.added, *c.modified, *c.removed))
