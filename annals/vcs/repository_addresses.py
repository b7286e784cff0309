"""From what is configured to where a repository lies: templates by name, connected repositories by installation."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from annals.domain.installation import Installation
from annals.domain.origin import Origin, Remote
from annals.vcs.addresses import is_repository, parse
from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import Bundled, Git, GitHub, Place

BUNDLED = ("appwrite", "templates")
"""Owner and name of the repository that comes with this program: what the catalogue of templates names."""

PUBLIC_HOST = "https://github.com"
"""Where an owner's repository is when nothing else is configured."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An installation's secrets, which are stored sealed; `webhook_secret` signs what the host pushes to us."""

    username: str = ""
    password: str = ""
    private_key: str = ""
    known_hosts: str = ""
    webhook_secret: str = ""


class Located(NamedTuple):
    """A place, and what is known of it before it is asked."""

    place: Place
    known: Origin


def of_template(owner: str, name: str, remotes: Mapping[str, str]) -> Located:
    """Return a template's repository: configured, else bundled, else of the public host. Raises RepositoryError."""
    configured = remotes.get(f"{owner}/{name}")
    if not is_repository(owner) or not is_repository(name):
        raise RepositoryError("repository", "The owner's or the repository's name is none.")
    shown = template_url(owner, name, remotes)
    place: Place
    if configured is not None:
        place = _configured(configured)
    elif (owner, name) == BUNDLED:
        place = Bundled()
    else:
        place = Git(url=f"{shown}.git", web_url=shown)
    return Located(place, Origin(repository_owner=owner, repository_name=name, repository_url=shown))


def template_url(owner: str, name: str, remotes: Mapping[str, str]) -> str:
    """What a template's repository is shown as: its page where it has one, else what its public host would have."""
    configured = remotes.get(f"{owner}/{name}")
    shown = _shown(configured) if configured is not None else ""
    return shown or f"{PUBLIC_HOST}/{quote(owner, safe='')}/{quote(name, safe='')}"


def template_origin(remote: Remote, remotes: Mapping[str, str]) -> Origin:
    """What is known of a template before anybody asked its repository."""
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
) -> Located:
    """A repository that an installation reaches. Raises RepositoryError."""
    if not is_repository(repository_id):
        raise RepositoryError("repository", "The repository's id is none: name it as its host does, like owner/name.")
    owner, _, name = repository_id.rpartition("/")
    known = Origin(repository_id=repository_id, repository_owner=owner, repository_name=name)
    if installation.provider == "github":
        place = GitHub(
            api=installation.url,
            app_id=installation.app_id,
            private_key=credentials.private_key,
            installation=installation.provider_installation_id,
            repository=repository_id,
        )
        return Located(place, known)
    if not installation.url:
        configured = remotes.get(repository_id)
        if configured is None:
            raise RepositoryError(
                "repository", f"The repository {repository_id} is not among those of ANNALS_GIT_REMOTES."
            )
        git = _configured(configured)
    else:
        url = f"{installation.url.rstrip('/')}/{repository_id}"
        git = _with_secrets(Git(url=url, web_url=_shown(url)), credentials)
    return Located(git, msgspec.structs.replace(known, repository_url=git.web_url))


def _with_secrets(place: Git, credentials: Credentials) -> Git:
    return msgspec.structs.replace(
        place,
        username=credentials.username,
        password=credentials.password,
        private_key=credentials.private_key,
        known_hosts=credentials.known_hosts,
    )


def _configured(url: str) -> Git:
    return Git(url=url, web_url=_shown(url), trusted=True)


def _shown(url: str) -> str:
    """The page of a repository, for those whose host has pages."""
    address = parse(url, trusted=True)
    return url.removesuffix(".git") if address.scheme in {"https", "http"} else ""
