"""Sources in repositories: fetched when their build begins, in a separate process, and stored like uploads."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import structlog

from annals.domain.base import Key
from annals.domain.commands.deployments import store_fetched
from annals.domain.deployment import Deployment
from annals.domain.errors import Conflict
from annals.domain.origin import Origin
from annals.domain.ports import Artefact, BuildOutcome
from annals.store.content.blobs import PIECE, Blobs
from annals.store.content.contents import source_key
from annals.store.coordination.retry import retry
from annals.store.log.log import EventLog, Meta
from annals.vcs.client import Repositories
from annals.vcs.errors import RepositoryError
from annals.vcs.locating import Locator

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
        recorded = await retry(lambda: self._log.run(store_fetched, _key(deployment), meta=meta, **recorded_events))
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
