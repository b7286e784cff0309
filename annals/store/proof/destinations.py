"""Where checkpoints lie outside the database: the blob store, and further places that a setting names."""

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from annals.store.content.blobs import BlobError, BlobMissing, Blobs
from annals.store.proof.notes import Checkpoint, NoteInvalid, Verifier
from annals.store.proof.tiles import Leaves, from_bytes, to_bytes

FOLDER = "seal/checkpoints"
LATEST = "seal/latest"
TILES = "seal/tiles"

log = structlog.get_logger(__name__)


class Outside(NamedTuple):
    """A checkpoint as it was found, and where."""

    checkpoint: Checkpoint
    note: str
    place: str


class Forged(NamedTuple):
    """A note that the log's key did not sign, or no note at all."""

    place: str
    reason: str


class Destinations:
    """The first is the instance's own blob store, which also keeps copies of the tiles of leaves."""

    def __init__(self, blobs: Blobs, further: Sequence[str] = ()) -> None:
        """`further` are folders or URLs of blob stores. Raises BlobError."""
        self.own = blobs
        self._stores = [("the blob store", blobs), *((place, Blobs.open(place)) for place in further)]

    async def put(self, checkpoint: Checkpoint, note: str) -> None:
        """Write a checkpoint to every place. Raises BlobError when one of them fails; the others have it then."""
        failed: BlobError | None = None
        for name, store in self._stores:
            try:
                await store.put(key(checkpoint), note.encode())
                await store.put(LATEST, note.encode())
            except BlobError as error:
                log.error("checkpoint_not_written", place=name, size=checkpoint.size, error=str(error))
                failed = error
        if failed is not None:
            raise failed

    async def latest(self, verifier: Verifier) -> Outside | None:
        """The newest checkpoint of all places, as their files of that name say. Raises NoteInvalid, BlobError."""
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
        """Every checkpoint of every place by size, and what only claims to be one; other logs' are passed over.

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
        """Remove the checkpoints of a log that is no more, from every place. Raises BlobError."""
        for _, store in self._stores:
            for name in [LATEST, *[info.key async for info in store.list(FOLDER)]]:
                try:
                    note = (await store.get(name)).decode("utf-8", "replace")
                except BlobMissing:
                    continue
                if verifier.claims(note):
                    await store.delete(name)

    async def put_leaves(self, tile: Leaves) -> None:
        """Copy a tile of leaves, so that what somebody changes in Postgres can be told event by event.

        Raises BlobError.
        """
        await self.own.put(f"{TILES}/{tile.number:012d}", to_bytes(tile))

    async def leaves(self, index: int) -> Leaves | None:
        """The copy of a tile of leaves, as far as it was there at the last checkpoint. Raises BlobError."""
        try:
            return from_bytes(index, await self.own.get(f"{TILES}/{index:012d}"))
        except BlobMissing:
            return None


def key(checkpoint: Checkpoint) -> str:
    return f"{FOLDER}/{checkpoint.signed_at:%Y%m%d}/{checkpoint.size:020d}"
