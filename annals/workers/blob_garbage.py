"""Blob garbage collection: remove blobs that no row names, from failed appends, broken uploads and deletions."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from annals.store.content import contents
from annals.store.content.blobs import Blobs, sweep
from annals.store.content.contents import ARTEFACTS, SOURCES, UPLOADS, Contents, deployment_prefix
from annals.store.postgres import sql
from annals.store.postgres.database import Database

QUERIES = sql.load(__package__, "retention.sql")

ABANDONED = timedelta(days=1)
"""The age at which parts of an upload that was never completed are removed."""

_RECENT = timedelta(minutes=1)


class BlobGarbage:
    """Sweeps the blob store; `grace` must exceed the longest time between a blob and the event that names it."""

    def __init__(self, database: Database, store: Contents, *, grace: timedelta) -> None:
        self._database = database
        self._contents = store
        self._grace = grace
        self._blobs: Blobs = store.blobs

    async def run(self) -> None:
        """Sweep all prefixes."""
        await self.sweep(datetime.now(UTC))

    async def sweep(self, now: datetime) -> list[str]:
        """Remove the blobs that no row named for the grace period, and return their keys."""
        removed = await sweep(self._blobs, contents.PREFIX, self._contents.known, now=now, grace=self._grace)
        for prefix in (SOURCES, ARTEFACTS):
            removed += await sweep(self._blobs, prefix, self._in_use, now=now, grace=self._grace)
        removed += await sweep(self._blobs, UPLOADS, self._awaited, now=now, grace=self._grace)
        return removed + await sweep(self._blobs, UPLOADS, _none, now=now, grace=ABANDONED)

    async def sweep_deployment(self, project_id: str, deployment_id: str, now: datetime) -> None:
        """Remove the blobs of a deleted deployment at once, except those written a moment ago."""
        for prefix in (SOURCES, ARTEFACTS, UPLOADS):
            known = self._awaited if prefix == UPLOADS else self._in_use
            below = deployment_prefix(prefix, project_id, deployment_id)
            await sweep(self._blobs, below, known, now=now, grace=_RECENT)

    async def _in_use(self, keys: Sequence[str]) -> set[str]:
        rows = await self._database.rows(QUERIES["blobs_in_use"], {"keys": list(keys)})
        return {row["key"] for row in rows}

    async def _awaited(self, keys: Sequence[str]) -> set[str]:
        owners = {key: tuple(key.split("/")[1:3]) for key in keys}
        params = {
            "projects": [project for project, _ in owners.values()],
            "deployments": [deployment for _, deployment in owners.values()],
        }
        rows = await self._database.rows(QUERIES["uploads_open"], params)
        still_open = {(row["project_id"], row["deployment_id"]) for row in rows}
        return {key for key, owner in owners.items() if owner in still_open}


async def _none(_keys: Sequence[str]) -> set[str]:
    return set()
