"""Commit statuses: report a build's state to the host of its commit, unless the function is connected silently."""

import asyncio

import structlog

from annals.domain.base import Key
from annals.domain.deployment import Deployment
from annals.domain.errors import DomainError
from annals.store.errors import StoreError
from annals.store.log.log import EventLog
from annals.vcs.client import Repositories
from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import GitHub, Report, State
from annals.vcs.locating import Locator

SECONDS = 20.0
SENTENCES: dict[State, str] = {
    "pending": "The deployment is being built.",
    "success": "The deployment is ready.",
    "failure": "The deployment failed.",
}

log = structlog.get_logger(__name__)


class Statuses:
    """Reports in the background; one per process."""

    def __init__(self, event_log: EventLog, locator: Locator, repositories: Repositories) -> None:
        self._log = event_log
        self._locator = locator
        self._repositories = repositories
        self._reporting: dict[str, asyncio.Task[None]] = {}

    def report(self, deployment: Deployment, state: State) -> None:
        """Begin to report a state; an earlier report about the same deployment is sent first."""
        remote = deployment.remote
        if remote is None or not remote.installation_id or remote.silent:
            return
        key, former = (
            Deployment.key(deployment.project_id, deployment.deployment_id),
            self._reporting.get(deployment.id),
        )
        task = asyncio.create_task(self._report(key, state, former))
        self._reporting[deployment.id] = task
        task.add_done_callback(lambda done: self._forget(deployment.id, done))

    async def reported(self) -> None:
        """Wait until all reports are sent."""
        await asyncio.gather(*self._reporting.values())

    def _forget(self, stream: str, done: "asyncio.Task[None]") -> None:
        if self._reporting.get(stream) is done:
            del self._reporting[stream]

    async def _report(self, key: Key, state: State, former: "asyncio.Task[None] | None") -> None:
        if former is not None:
            await asyncio.wait([former])
        try:
            deployment = await self._log.load(key)  # as it is now: the commit may just have been found
            wanted = await self._locator.request(deployment.project_id, deployment.remote, deployment.origin)
            if isinstance(wanted.location, GitHub) and deployment.origin.commit_hash:
                report = Report(commit=deployment.origin.commit_hash, state=state, description=SENTENCES[state])
                await self._repositories.report(wanted, report, seconds=SECONDS)
        except (RepositoryError, DomainError, StoreError) as error:
            log.info("commit_status_not_told", deployment=key.stream, state=state, error=str(error))
