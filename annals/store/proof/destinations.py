"""The destinations of checkpoints outside the database: the blob store, and others that a setting names."""

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from annals.store.content.blobs import BlobError, BlobMissing, Blobs
from annals.store.proof.notes import Checkpoint, NoteInvalid, Verifier
from annals.store.tree.tiles import Leaves, from_bytes, to_bytes

FOLDER = "seal/checkpoints"
LATEST = "seal/latest"
TILES = "seal/tiles"

log = structlog.get_logger(__name__)


class Outside(NamedTuple):
    """A checkpoint that was found at a destination."""

    checkpoint: Checkpoint
    note: str
    found_at: str


class Forged(NamedTuple):
    """A note that the log's key did not sign, or an invalid note."""

    found_at: str
    reason: str


class Destinations:
    """All destinations. The first is the instance's blob store, which also has copies of the tiles of leaves."""

    def __init__(self, blobs: Blobs, further: Sequence[str] = ()) -> None:
        """`further` are folders or URLs of blob stores. Raises BlobError."""
        self.own = blobs
        self._stores = [("the blob store", blobs), *((name, Blobs.open(name)) for name in further)]

    async def put(self, checkpoint: Checkpoint, note: str) -> None:
        """Write a checkpoint to every destination. Raises BlobError if one fails; the others have it then."""
        failed: BlobError | None = None
        for name, store in self._stores:
            try:
                await store.put(key(checkpoint), note.encode())
                await store.put(LATEST, note.encode())
            except BlobError as error:
                log.error("checkpoint_not_written", destination=name, size=checkpoint.size, error=str(error))
                failed = error
        if failed is not None:
            raise failed

    async def latest(self, verifier: Verifier) -> Outside | None:
        """Return the newest of the destinations' latest checkpoints. Raises NoteInvalid, BlobError."""
        newest: Outside | None = None
        for name, store in self._stores:
            try:
                note = (await store.get(LATEST)).decode("utf-8", "replace")
            except BlobMissing:
                continue
            if not verifier.claims(note):
                continue
            found = Outside(verifier.open(note), note, name)
            if newest is None or found.checkpoint.size > newest.checkpoint.size:
                newest = found
        return newest

    async def all(self, verifier: Verifier) -> tuple[list[Outside], list[Forged]]:
        """Return every checkpoint of every destination by size, and the forged ones. Those of other logs are skipped.

        Raises BlobError.
        """
        found: list[Outside] = []
        forged: list[Forged] = []
        for name, store in self._stores:
            async for info in store.list(FOLDER):
                note = (await store.get(info.key)).decode("utf-8", "replace")
                if not verifier.claims(note):
                    continue
                try:
                    found.append(Outside(verifier.open(note), note, f"{name}, {info.key}"))
                except NoteInvalid as error:
                    forged.append(Forged(f"{name}, {info.key}", str(error)))
        return sorted(found, key=lambda outside: outside.checkpoint.size), forged

    async def forget(self, verifier: Verifier) -> None:
        """Remove the checkpoints of a former log from every destination. Raises BlobError."""
        for _, store in self._stores:
            for name in [LATEST, *[info.key async for info in store.list(FOLDER)]]:
                try:
                    note = (await store.get(name)).decode("utf-8", "replace")
                except BlobMissing:
                    continue
                if verifier.claims(note):
                    await store.delete(name)

    async def put_leaves(self, tile: Leaves) -> None:
        """Copy a tile of leaves, so that a change in Postgres can be found event by event.

        Raises BlobError.
        """
        await self.own.put(f"{TILES}/{tile.number:012d}", to_bytes(tile))

    async def leaves(self, index: int) -> Leaves | None:
        """Return the copy of a tile of leaves as of the last checkpoint, or None. Raises BlobError."""
        try:
            return from_bytes(index, await self.own.get(f"{TILES}/{index:012d}"))
        except BlobMissing:
            return None


def key(checkpoint: Checkpoint) -> str:
    return f"{FOLDER}/{checkpoint.signed_at:%Y%m%d}/{checkpoint.size:020d}"
