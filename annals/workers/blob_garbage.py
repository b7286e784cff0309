"""Litter: blobs that nothing names. Appends that never committed leave them, uploads that broke off, and deletions."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from annals.store.content import contents
from annals.store.content.blobs import Blobs, sweep
from annals.store.content.contents import ARTEFACTS, SOURCES, UPLOADS, Contents, deployment_prefix
from annals.store.postgres import sql
from annals.store.postgres.database import Database

QUERIES = sql.load(__package__, "retention.sql")

ABANDONED = timedelta(days=1)
"""After which parts of an upload that nobody completed are removed."""

_SETTLED = timedelta(minutes=1)


class BlobGarbage:
    """`grace` must exceed the longest time between writing a blob and recording what names it."""

    def __init__(self, database: Database, store: Contents, *, grace: timedelta) -> None:
        self._database, self._contents, self._grace = database, store, grace
        self._blobs: Blobs = store.blobs

    async def run(self) -> None:
        """Sweep everywhere."""
        await self.sweep(datetime.now(UTC))

    async def sweep(self, now: datetime) -> list[str]:
        """Remove what has been named by nothing for the grace, and return the keys."""
        removed = await sweep(self._blobs, contents.PREFIX, self._contents.known, now=now, grace=self._grace)
        for prefix in (SOURCES, ARTEFACTS):
            removed += await sweep(self._blobs, prefix, self._in_use, now=now, grace=self._grace)
        removed += await sweep(self._blobs, UPLOADS, self._awaited, now=now, grace=self._grace)
        return removed + await sweep(self._blobs, UPLOADS, _none, now=now, grace=ABANDONED)

    async def sweep_deployment(self, project_id: str, deployment_id: str, now: datetime) -> None:
        """Remove at once what a deleted deployment had, but for what was written just now."""
        for prefix in (SOURCES, ARTEFACTS, UPLOADS):
            below, known = (
                deployment_prefix(prefix, project_id, deployment_id),
                self._awaited if prefix == UPLOADS else self._in_use,
            )
            await sweep(self._blobs, below, known, now=now, grace=_SETTLED)

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
