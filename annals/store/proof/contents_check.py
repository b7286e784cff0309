"""Checking that the bytes of contents and archives have the digests that events record."""

from collections.abc import AsyncIterator, Collection, Mapping

from annals.store.content.blobs import BlobMissing, Blobs
from annals.store.content.digest_checks import checked, checked_stream
from annals.store.errors import ContentDamaged
from annals.store.log.archives import Archives
from annals.store.log.compact_states import plain_or_altered
from annals.store.postgres import sql
from annals.store.postgres.database import Database, Row
from annals.store.proof.seal_check import Fault

QUERIES = sql.load(__package__, "contents_check.sql")

_PAGE = 500
_CANCELED = "deployment.build_canceled"


class ContentsCheck:
    """One check of an instance that may run meanwhile; `read` counts the checked contents."""

    def __init__(self, database: Database, blobs: Blobs, archives: Archives) -> None:
        self._database, self._blobs, self._archives = database, blobs, archives
        self.read = 0

    async def run(self) -> list[Fault]:
        """Return altered contents, and missing ones that a row still names. Raises BlobError, ArchiveDamaged."""
        return [fault async for fault in self._faults()]

    async def _faults(self) -> AsyncIterator[Fault]:
        key = {"stream": "", "version": 0, "kind": ""}
        while page := await self._database.rows(QUERIES["contents"], {**key, "limit": _PAGE}):
            recorded = await self._recorded_states({row["stream"] for row in page})
            for row in page:
                if detail := await self._wrong(row, recorded):
                    yield Fault("content_damaged", row["position"], f"the {row['kind']} of {row['stream']} {detail}")
            key = {name: page[-1][name] for name in key}
        for row in await self._database.rows(QUERIES["archives"]):
            if detail := await self._wrong(row, await self._recorded_states({row["stream"]})):
                yield Fault("content_damaged", row["position"], f"the {row['kind']} of {row['stream']} {detail}")

    async def _recorded_states(self, streams: Collection[str]) -> Mapping[str, bytes]:
        """Return the joined states of the streams whose events must name every content."""
        rows = await self._database.rows(QUERIES["events"], {"streams": list(streams)})
        found = [(row["stream"], row["topic"], plain_or_altered(row["state"])) for row in rows]
        found += [(row.stream, row.topic, row.state) for row in await self._archives.of_streams(streams)]
        # the log of a canceled build is assembled after its last event
        late = {stream for stream, topic, _ in found if topic == _CANCELED}
        recorded: dict[str, bytes] = {}
        for stream, _, state in found:
            if stream not in late:
                recorded[stream] = recorded.get(stream, b"") + state
        return recorded

    async def _wrong(self, row: Row, recorded: Mapping[str, bytes]) -> str:
        """Return what is wrong with a content or an archive, empty for a right one."""
        self.read += 1
        try:
            if row["data"] is not None:
                checked(bytes(row["data"]), row["digest"], row["kind"])
            else:
                async for _ in checked_stream(self._blobs.stream(row["blob"]), row["digest"], row["kind"]):
                    pass
        except ContentDamaged:
            return "does not have the digest that was recorded for it"
        except BlobMissing:
            still = await self._database.value(QUERIES["still"], {"blob": row["blob"]})
            return f"is gone: there is no blob {row['blob']}" if still else ""
        if row["stream"] in recorded and row["digest"].encode() not in recorded[row["stream"]]:
            return "has a digest that no event names"
        return ""
