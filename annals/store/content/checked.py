"""Stored bytes are those that the log names by their digest, or nobody is given them."""

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from datetime import datetime
from typing import NamedTuple

from annals.store.content.blobs import PIECE, Blobs
from annals.store.errors import ContentDamaged

KNOWN = 4096
"""Of how many large blobs a process remembers that it found them whole."""


class RecordedBlob(NamedTuple):
    """A blob of `size` bytes as it was recorded; `what` names it in a sentence."""

    key: str
    digest: str
    size: int
    what: str


def checked(data: bytes, digest: str, what: str) -> bytes:
    """These bytes. Raises ContentDamaged when they are not those that were recorded."""
    if hashlib.sha256(data).hexdigest() != digest:
        raise _damaged(what)
    return data


async def checked_stream(pieces: AsyncIterator[bytes], digest: str, what: str) -> AsyncIterator[bytes]:
    """These pieces, each a step behind: of what is damaged nobody gets the last one. Raises ContentDamaged there."""
    hashed, held = hashlib.sha256(), b""
    async for piece in pieces:
        hashed.update(piece)
        if held:
            yield held
        held = piece
    if hashed.hexdigest() != digest:
        raise _damaged(what)
    if held:
        yield held


class BlobReader:
    """Reads blobs; one per process."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._known: OrderedDict[str, tuple[str, int, datetime]] = OrderedDict()

    async def whole(self, kept: RecordedBlob) -> bytes:
        """Raises ContentDamaged, BlobMissing."""
        return checked(await self._blobs.get(kept.key), kept.digest, kept.what)

    async def span(self, kept: RecordedBlob, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end`, found whole before the first is given; of a large blob that is
        wanted whole, before the last one. Raises ContentDamaged, BlobMissing."""
        if kept.size <= PIECE:
            return _one((await self.whole(kept))[start:end])
        if (start, end) == (0, kept.size):
            return checked_stream(self._blobs.stream(kept.key), kept.digest, kept.what)
        await self._prove(kept)
        return self._blobs.stream(kept.key, start, end)

    async def _prove(self, kept: RecordedBlob) -> None:
        """Read a blob for its digest, once for all of its ranges and again when it has changed."""
        info = await self._blobs.head(kept.key)
        found = kept.digest, info.size, info.modified_at
        if self._known.get(kept.key) != found:
            async for _ in checked_stream(self._blobs.stream(kept.key), kept.digest, kept.what):
                pass
            self._known[kept.key] = found
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _damaged(what: str) -> ContentDamaged:
    return ContentDamaged(
        f"{what} cannot be given: the bytes that are kept do not have the digest that was recorded for them."
        " `annals verify --contents` tells all that is damaged."
    )
