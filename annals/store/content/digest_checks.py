"""Reading stored bytes: they have the digest that the log records, or the reader gets ContentDamaged."""

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from datetime import datetime
from typing import NamedTuple

from annals.store.content.blobs import PIECE, Blobs
from annals.store.errors import ContentDamaged

KNOWN = 4096
"""The number of large blobs whose digest a process remembers as checked."""


class RecordedBlob(NamedTuple):
    """A blob of `size` bytes as it was recorded; `label` names it in an error message."""

    key: str
    digest: str
    size: int
    label: str


def checked(data: bytes, digest: str, label: str) -> bytes:
    """Return the bytes. Raises ContentDamaged if they do not have the digest."""
    if hashlib.sha256(data).hexdigest() != digest:
        raise _damaged(label)
    return data


async def checked_stream(pieces: AsyncIterator[bytes], digest: str, label: str) -> AsyncIterator[bytes]:
    """Yield the pieces. Raises ContentDamaged instead of yielding the last piece of damaged bytes."""
    hashed = hashlib.sha256()
    former = b""
    async for piece in pieces:
        hashed.update(piece)
        if former:
            yield former
        former = piece
    if hashed.hexdigest() != digest:
        raise _damaged(label)
    if former:
        yield former


class BlobReader:
    """Reads recorded blobs and remembers which large ones were checked."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._known: OrderedDict[str, tuple[str, int, datetime]] = OrderedDict()

    async def whole(self, blob: RecordedBlob) -> bytes:
        """Return a whole blob. Raises ContentDamaged, BlobMissing."""
        return checked(await self._blobs.get(blob.key), blob.digest, blob.label)

    async def span(self, blob: RecordedBlob, start: int, end: int) -> AsyncIterator[bytes]:
        """Return the pieces from `start` to before `end`.

        The whole blob is checked before the first piece, or before the last piece if a large blob is read as a whole.
        Raises ContentDamaged, BlobMissing.
        """
        if blob.size <= PIECE:
            return _single((await self.whole(blob))[start:end])
        if (start, end) == (0, blob.size):
            return checked_stream(self._blobs.stream(blob.key), blob.digest, blob.label)
        await self._check(blob)
        return self._blobs.stream(blob.key, start, end)

    async def _check(self, blob: RecordedBlob) -> None:
        """Check a blob's digest, once for all of its ranges and again after it has changed."""
        info = await self._blobs.head(blob.key)
        found = blob.digest, info.size, info.modified_at
        if self._known.get(blob.key) != found:
            async for _ in checked_stream(self._blobs.stream(blob.key), blob.digest, blob.label):
                pass
            self._known[blob.key] = found
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)


async def _single(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _damaged(label: str) -> ContentDamaged:
    return ContentDamaged(
        f"{label} cannot be given: the bytes that are kept do not have the digest that was recorded for them."
        " `annals verify --contents` tells all that is damaged."
    )
