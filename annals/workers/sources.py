"""Builds of commits: fetch the source when a build begins, and report the build's state to the commit's host.

A source is fetched in a separate process and stored like an upload.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import structlog

from annals.domain.base import Key
from annals.domain.deployment import Deployment
from annals.domain.errors import Conflict, DomainError
from annals.domain.origin import Origin
from annals.domain.ports import Artefact, BuildOutcome
from annals.store.content.blobs import PIECE, Blobs
from annals.store.content.contents import source_key
from annals.store.coordination.retry import retry
from annals.store.errors import StoreError
from annals.store.log.log import EventLog, Meta
from annals.vcs.client import Repositories
from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import GitHub, Report, State
from annals.vcs.locating import Locator

REPORT_SECONDS = 20.0
SENTENCES: dict[State, str] = {
    "pending": "The deployment is being built.",
    "success": "The deployment is ready.",
    "failure": "The deployment failed.",
}

log = structlog.get_logger(__name__)


class SourceFetcher:
    """Fetches the sources of builds; one per process."""

    def __init__(self, event_log: EventLog, *, blobs: Blobs, locator: Locator, repositories: Repositories) -> None:
        self._log = event_log
        self._blobs = blobs
        self._locator = locator
        self._repositories = repositories

    async def bring(self, deployment: Deployment, meta: Meta) -> BuildOutcome | None:
        """Fetch the source of a claimed build and record it; return an outcome if that fails.

        Raises Conflict if the claim was lost, BlobError.
        """
        try:
            source, origin = await self._fetch(deployment)
        except RepositoryError as error:
            log.info("source_unavailable", deployment=deployment.id, kind=error.kind)
            return BuildOutcome(reason="source_unavailable", message=error.sentence)
        recorded_events: dict[str, Any] = {"epoch": deployment.epoch, "source": source, "origin": origin}
        recorded = await retry(
            lambda: self._log.run(Deployment.store_fetched, _key(deployment), meta=meta, **recorded_events)
        )
        (now,) = recorded.aggregates
        if not isinstance(now, Deployment) or now.source is None or now.source.key != source.key:
            await self._blobs.delete(source.key)
            raise Conflict
        return None

    async def _fetch(self, deployment: Deployment) -> tuple[Artefact, Origin]:
        remote = deployment.remote
        if remote is None:
            raise RepositoryError("failed", "This deployment names no repository.")
        wanted = await retry(lambda: self._locator.request(deployment.project_id, remote, deployment.origin))
        async with self._repositories.fetch(wanted) as (archive, origin):
            key = source_key(deployment.project_id, deployment.deployment_id)
            blob = await self._blobs.put(key, _pieces(archive))
        return Artefact(key=blob.key, digest=blob.digest, size=blob.size), origin


def _key(deployment: Deployment) -> Key:
    return Deployment.key(deployment.project_id, deployment.deployment_id)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


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
                await self._repositories.report(wanted, report, seconds=REPORT_SECONDS)
        except (RepositoryError, DomainError, StoreError) as error:
            log.info("commit_status_not_told", deployment=key.stream, state=state, error=str(error))
