"""Source archives that requests name by their paths in the Open Runtimes storage."""

import hashlib
from datetime import datetime
from typing import NamedTuple

from annals.domain.ports import Artefact
from annals.executor.open_runtimes.errors import ApiError
from annals.store.content.blobs import BlobKeyInvalid, BlobMissing, Blobs, check

KNOWN = 4096


class _Known(NamedTuple):
    artefact: Artefact
    modified_at: datetime


class SourceArchives:
    """Finds archives by path. An archive is read once to compute its digest, and again after it has changed."""

    def __init__(self, blobs: Blobs, most_bytes: int) -> None:
        self._blobs = blobs
        self._most = most_bytes
        self._known: dict[str, _Known] = {}

    async def artefact(self, path: str) -> Artefact:
        """Return the archive at a path. Raises ApiError, BlobError."""
        key = key_of(path)
        try:
            info = await self._blobs.head(key)
            if info.size > self._most:
                raise ApiError("runtime_failed", f"The source is larger than {self._most:,} bytes.")
            known = self._known.pop(key, None)
            if known is None or known.modified_at != info.modified_at or known.artefact.size != info.size:
                known = _Known(await self._read(key), info.modified_at)
        except BlobMissing:
            raise ApiError("runtime_failed", f"There is no source {path[:200]!r} in the storage.") from None
        self._known[key] = known
        while len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]
        return known.artefact

    async def _read(self, key: str) -> Artefact:
        digest, size = hashlib.sha256(), 0
        async for piece in self._blobs.stream(key):
            digest.update(piece)
            size += len(piece)
        return Artefact(key=key, digest=digest.hexdigest(), size=size)


def key_of(path: str) -> str:
    """Return a path as a key of the storage. Raises ApiError."""
    try:
        return check(path.strip("/"))
    except BlobKeyInvalid:
        raise ApiError("general_argument_invalid", f"{path[:200]!r} is no path within the storage.") from None
