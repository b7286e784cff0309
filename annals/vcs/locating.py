"""From what a deployment says of its source to the place where it lies, its installation's credentials opened."""

from collections.abc import Mapping

import msgspec

from annals.domain.errors import ProjectNotFound
from annals.domain.installation import Installation
from annals.domain.origin import Origin, Remote
from annals.domain.project import Project
from annals.store.errors import StoreError, StoreUnavailable
from annals.store.log.log import EventLog
from annals.store.secrets.vault import Vault
from annals.vcs.client import Wanted
from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import Folder
from annals.vcs.repository_addresses import Credentials, Located, of_installation, of_template

GONE = "The installation of this repository was removed. Add one, and connect the function again."


class Locator:
    """One per process; `remotes` are the operator's URLs of `owner/repository`."""

    def __init__(self, log: EventLog, vault: Vault, remotes: Mapping[str, str]) -> None:
        self._log, self._vault, self._remotes = log, vault, remotes

    async def wanted(self, project_id: str, remote: Remote, known: Origin) -> Wanted:
        """What to ask for; `known` is what was recorded of the origin. Raises RepositoryError, StoreUnavailable."""
        located = await self._located(project_id, remote)
        fields = {name: value for name, value in msgspec.structs.asdict(known).items() if value}
        template = remote.template
        return Wanted(
            template=None if template is None else self._template(template),
            place=located.place,
            reference_type=remote.reference_type,
            reference=remote.reference,
            root_directory=remote.root_directory,
            known=msgspec.structs.replace(located.known, **fields),
        )

    def _template(self, remote: Remote) -> Folder:
        return Folder(
            place=of_template(remote.owner, remote.name, self._remotes).place,
            reference_type=remote.reference_type,
            reference=remote.reference,
            root_directory=remote.root_directory,
        )

    async def _located(self, project_id: str, remote: Remote) -> Located:
        if not remote.installation_id:
            return of_template(remote.owner, remote.name, self._remotes)
        try:
            project = await self._log.load(Project.key(project_id))
        except ProjectNotFound:
            raise RepositoryError("failed", GONE) from None
        installation = project.installations.get(remote.installation_id)
        if installation is None:
            raise RepositoryError("failed", GONE)
        credentials = await self.credentials(project_id, installation)
        return of_installation(installation, credentials, remote.repository_id, self._remotes)

    async def credentials(self, project_id: str, installation: Installation) -> Credentials:
        """An installation's secrets. Raises RepositoryError when they can't be opened, StoreUnavailable."""
        owner = Project.stream(project_id)
        try:
            text = await self._vault.open(project_id, owner, installation.installation_id, installation.sealed)
        except StoreUnavailable:
            raise
        except StoreError as error:
            raise RepositoryError("failed", f"The installation's credentials cannot be opened: {error}") from error
        return msgspec.json.decode(text, type=Credentials)
