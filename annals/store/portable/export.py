"""Exports: events as lines, each checked against the seal when it is read, under the newest signed checkpoint."""

from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

from annals.store.content.blobs import BlobMissing
from annals.store.content.contents import Contents
from annals.store.content.digest_checks import checked_stream
from annals.store.errors import StoreError
from annals.store.log.archives import Archives, project_of
from annals.store.log.stored_row import StoredRow, as_leaf, row_to_compare, to_line
from annals.store.portable.records import (
    FORM,
    BlobRecord,
    ContentRecord,
    DataKey,
    End,
    ExportHeader,
    Piece,
    SignedBefore,
    Skipped,
    encode,
)
from annals.store.postgres import sql
from annals.store.postgres.database import Database
from annals.store.proof.notes import Checkpoint, Signer
from annals.store.proof.proofs import Nodes
from annals.store.proof.sources import SourceTile, tiles
from annals.store.tree.merkle import HASH_BYTES, LeafRange, cover, fold, leaf_hash
from annals.store.tree.tiles import QUERIES as SEAL
from annals.store.tree.tiles import WIDTH

QUERIES = sql.load(__package__, "portable.sql")
_PAGE = 100


class LogAltered(StoreError):
    """The log differs from the sealed one: it must not be exported."""


class ExportSelection(NamedTuple):
    """The part to export: one project or, if empty, all of them; the events after position `since`."""

    project: str = ""
    since: int = 0
    contents: bool = False
    backup: bool = False


class Exporter:
    """Exports the log up to a checkpoint."""

    def __init__(self, database: Database, archives: Archives, contents: Contents, signer: Signer) -> None:
        self._database, self._archives, self._contents, self._signer = database, archives, contents, signer
        self.counts = {"events": 0, "contents": 0, "blobs": 0}

    async def lines(self, selection: ExportSelection, checkpoint: Checkpoint) -> AsyncIterator[bytes]:
        """Yield all lines without newlines. Raises LogAltered, ArchiveDamaged, ContentDamaged, BlobError."""
        yield encode(
            ExportHeader(
                form=FORM,
                origin=self._signer.name,
                key=str(self._signer.verifier),
                note=self._signer.sign(checkpoint),
                project=selection.project,
                since=selection.since,
                contents=selection.contents,
                backup=selection.backup,
            )
        )
        async for line in self._events(selection, checkpoint.size):
            yield line
        if selection.backup:
            async for line in self._backup_records():
                yield line
        if selection.contents:
            async for line in self._bytes(selection, checkpoint.position):
                yield line
        yield encode(End(**self.counts))

    async def _events(self, selection: ExportSelection, size: int) -> AsyncIterator[bytes]:
        start = await self._first_leaf(selection.since, size)
        if start:
            nodes = list(cover(LeafRange(0, start)))
            hashes = await Nodes(self._database, self._archives.leaf_hashes).some(nodes)
            yield encode(Skipped(start=0, end=start, hashes=hashes))
        async for tile in tiles(self._database, self._archives, start // WIDTH):
            first = tile.leaves.number * WIDTH
            if first >= size:
                return
            rows = await self._rows(tile)
            end = min(size - first, len(tile.leaves.positions))
            async for line in self._tile(tile, rows, LeafRange(max(0, start - first), end), selection.project):
                yield line

    async def _first_leaf(self, since: int, size: int) -> int:
        """Return the number of leaves at or before a position."""
        if not since:
            return 0
        count = 0
        async for tile in tiles(self._database, self._archives):
            if tile.leaves.positions and tile.leaves.positions[0] > since:
                break
            count = tile.leaves.number * WIDTH + sum(position <= since for position in tile.leaves.positions)
        return min(count, size)

    async def _rows(self, tile: SourceTile) -> Mapping[int, StoredRow]:
        if tile.archived:
            return {row.position: row for row in tile.rows}
        positions = tile.leaves.positions
        rows = await self._database.rows(
            SEAL["sealed"], {"position": positions[0] - 1, "until": positions[-1], "limit": None}
        )
        return {row["notification_id"]: row_to_compare(row) for row in rows}

    async def _tile(
        self, tile: SourceTile, rows: Mapping[int, StoredRow], span: LeafRange, project: str
    ) -> AsyncIterator[bytes]:
        base, hashes = tile.leaves.number * WIDTH, tile.leaves.hashes
        skipped: int | None = None
        for number in range(*span):
            row = rows.get(tile.leaves.positions[number])
            if row is None or leaf_hash(as_leaf(row)) != hashes[number * HASH_BYTES : (number + 1) * HASH_BYTES]:
                raise LogAltered(
                    f"Position {tile.leaves.positions[number]} is not what was sealed. Run `annals verify`."
                )
            if project and project_of(row.stream) != project:
                skipped = number if skipped is None else skipped
                continue
            if skipped is not None:
                yield _skipped(base, LeafRange(skipped, number), hashes)
                skipped = None
            self.counts["events"] += 1
            yield to_line(row)
        if skipped is not None:
            yield _skipped(base, LeafRange(skipped, span.end), hashes)

    async def _backup_records(self) -> AsyncIterator[bytes]:
        for row in await self._database.rows(SEAL["checkpoints"]):
            yield encode(SignedBefore(note=row["note"]))
        for row in await self._database.rows(QUERIES["data_keys"]):
            yield encode(DataKey(**{**row, "wrapped": bytes(row["wrapped"])}))

    async def _bytes(self, selection: ExportSelection, until: int) -> AsyncIterator[bytes]:
        key = {"stream": "", "version": 0, "kind": ""}
        parameters = {"project": selection.project, "since": selection.since, "until": until, "limit": _PAGE}
        while rows := await self._database.rows(QUERIES["contents"], {**parameters, **key}):
            for row in rows:
                try:
                    data = await self._contents.read(row["stream"], row["kind"], version=row["version"])
                except StoreError:  # retention dropped it meanwhile, or its bytes are damaged
                    if await self._contents.find(row["stream"], row["kind"], version=row["version"]) is None:
                        continue
                    raise
                self.counts["contents"] += 1
                yield encode(
                    ContentRecord(
                        stream=row["stream"],
                        version=row["version"],
                        name=row["kind"],
                        digest=row["digest"],
                        size=row["size"],
                        data=data,
                    )
                )
            key = {name: rows[-1][name] for name in key}
        for row in await self._database.rows(QUERIES["blobs"], {"project": selection.project}):
            async for line in self._blob(row["key"], row["digest"]):
                yield line

    async def _blob(self, key: str, digest: str) -> AsyncIterator[bytes]:
        try:
            await self._contents.blobs.head(key)
        except BlobMissing:  # its deployment was deleted meanwhile
            return
        self.counts["blobs"] += 1
        yield encode(BlobRecord(key=key, digest=digest))
        async for piece in checked_stream(self._contents.blobs.stream(key), digest, f"The archive {key}"):
            yield encode(Piece(data=piece))


def _skipped(base: int, span: LeafRange, hashes: bytes) -> bytes:
    """Return the line for skipped leaves of one tile, as few nodes."""
    nodes = [
        fold(hashes[(node.number << node.level) * HASH_BYTES : ((node.number + 1) << node.level) * HASH_BYTES])
        for node in cover(span)
    ]
    return encode(Skipped(start=base + span.start, end=base + span.end, hashes=nodes))
