"""Where the repository of a deployment is: templates by name, connected repositories by their installation."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from annals.domain.errors import ProjectNotFound
from annals.domain.origin import Origin, Remote
from annals.domain.project import Installation, Project
from annals.store.errors import StoreError, StoreUnavailable
from annals.store.log.log import EventLog
from annals.store.secrets.vault import Vault
from annals.vcs.client import FetchRequest
from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import Bundled, Folder, Git, GitHub, Location
from annals.vcs.urls import is_repository, parse_url

INSTALLATION_REMOVED = "The installation of this repository was removed. Add one, and connect the function again."

BUNDLED = ("appwrite", "templates")
"""Owner and name of the bundled repository, which the catalogue of templates names."""

PUBLIC_HOST = "https://github.com"
"""The host of repositories without a configured URL."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An installation's secrets, stored encrypted; the host signs its webhooks with `webhook_secret`."""

    username: str = ""
    password: str = ""
    private_key: str = ""
    known_hosts: str = ""
    webhook_secret: str = ""


class KnownRepository(NamedTuple):
    """A repository's location, and the fields of its origin that are known before a fetch."""

    location: Location
    known: Origin


class Locator:
    """Turns a deployment's source into a fetch request; one object a process.

    `remotes` are the operator's URLs by `owner/repository`.
    """

    def __init__(self, log: EventLog, vault: Vault, remotes: Mapping[str, str]) -> None:
        self._log = log
        self._vault = vault
        self._remotes = remotes

    async def request(self, project_id: str, remote: Remote, known: Origin) -> FetchRequest:
        """Return the fetch request of a source with its recorded origin. Raises RepositoryError, StoreUnavailable."""
        located = await self._located(project_id, remote)
        fields = {name: value for name, value in msgspec.structs.asdict(known).items() if value}
        template = remote.template
        return FetchRequest(
            template=None if template is None else self._template(template),
            location=located.location,
            reference_type=remote.reference_type,
            reference=remote.reference,
            root_directory=remote.root_directory,
            known=msgspec.structs.replace(located.known, **fields),
        )

    def _template(self, remote: Remote) -> Folder:
        return Folder(
            location=of_template(remote.owner, remote.name, self._remotes).location,
            reference_type=remote.reference_type,
            reference=remote.reference,
            root_directory=remote.root_directory,
        )

    async def _located(self, project_id: str, remote: Remote) -> KnownRepository:
        if not remote.installation_id:
            return of_template(remote.owner, remote.name, self._remotes)
        try:
            project = await self._log.load(Project.key(project_id))
        except ProjectNotFound:
            raise RepositoryError("failed", INSTALLATION_REMOVED) from None
        installation = project.installations.get(remote.installation_id)
        if installation is None:
            raise RepositoryError("failed", INSTALLATION_REMOVED)
        credentials = await self.credentials(project_id, installation)
        return of_installation(installation, credentials, remote.repository_id, self._remotes)

    async def credentials(self, project_id: str, installation: Installation) -> Credentials:
        """Return an installation's secrets. Raises RepositoryError if they cannot be opened, StoreUnavailable."""
        owner = Project.stream(project_id)
        try:
            text = await self._vault.open(project_id, owner, installation.installation_id, installation.sealed)
        except StoreUnavailable:
            raise
        except StoreError as error:
            raise RepositoryError("failed", f"The installation's credentials cannot be opened: {error}") from error
        return msgspec.json.decode(text, type=Credentials)


def of_template(owner: str, name: str, remotes: Mapping[str, str]) -> KnownRepository:
    """Return a template's repository: configured, bundled, or of the public host. Raises RepositoryError."""
    configured = remotes.get(f"{owner}/{name}")
    if not is_repository(owner) or not is_repository(name):
        raise RepositoryError("repository", "The owner or the repository has an invalid name.")
    shown = template_url(owner, name, remotes)
    location: Location
    if configured is not None:
        location = _configured(configured)
    elif (owner, name) == BUNDLED:
        location = Bundled()
    else:
        location = Git(url=f"{shown}.git", web_url=shown)
    return KnownRepository(location, Origin(repository_owner=owner, repository_name=name, repository_url=shown))


def template_url(owner: str, name: str, remotes: Mapping[str, str]) -> str:
    """Return the page of a template's repository: the configured one, else the page at the public host."""
    configured = remotes.get(f"{owner}/{name}")
    shown = _shown(configured) if configured is not None else ""
    return shown or f"{PUBLIC_HOST}/{quote(owner, safe='')}/{quote(name, safe='')}"


def template_origin(remote: Remote, remotes: Mapping[str, str]) -> Origin:
    """Return the origin of a template as far as it is known before a fetch."""
    url = template_url(remote.owner, remote.name, remotes)
    return Origin(
        repository_owner=remote.owner,
        repository_name=remote.name,
        repository_url=url,
        branch=remote.reference,
        branch_url=f"{url}/blob/{quote(remote.reference, safe='/')}",
        root_directory=remote.root_directory,
    )


def of_installation(
    installation: Installation, credentials: Credentials, repository_id: str, remotes: Mapping[str, str]
) -> KnownRepository:
    """Return a repository of an installation. Raises RepositoryError."""
    if not is_repository(repository_id):
        raise RepositoryError(
            "repository", "The repository's id is invalid. Use the name that its host has, such as owner/name."
        )
    owner, _, name = repository_id.rpartition("/")
    known = Origin(repository_id=repository_id, repository_owner=owner, repository_name=name)
    if installation.provider == "github":
        location = GitHub(
            api=installation.url,
            app_id=installation.app_id,
            private_key=credentials.private_key,
            installation=installation.provider_installation_id,
            repository=repository_id,
        )
        return KnownRepository(location, known)
    if not installation.url:
        configured = remotes.get(repository_id)
        if configured is None:
            raise RepositoryError("repository", f"The repository {repository_id} is not in ANNALS_GIT_REMOTES.")
        git = _configured(configured)
    else:
        url = f"{installation.url.rstrip('/')}/{repository_id}"
        git = _with_secrets(Git(url=url, web_url=_shown(url)), credentials)
    return KnownRepository(git, msgspec.structs.replace(known, repository_url=git.web_url))


def _with_secrets(location: Git, credentials: Credentials) -> Git:
    return msgspec.structs.replace(
        location,
        username=credentials.username,
        password=credentials.password,
        private_key=credentials.private_key,
        known_hosts=credentials.known_hosts,
    )


def _configured(url: str) -> Git:
    return Git(url=url, web_url=_shown(url), trusted=True)


def _shown(url: str) -> str:
    """Return the page of a repository; empty for a URL that is not http."""
    address = parse_url(url, trusted=True)
    return url.removesuffix(".git") if address.scheme in {"https", "http"} else ""
