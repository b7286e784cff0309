"""Logs that are longer than an execution's record holds, on their way to the blob store while the code runs.

They pass through a nameless file of this host: a slow store costs neither memory nor the code's time.
"""

import asyncio
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import structlog

from annals.domain.ports import OutputKind, Whole
from annals.store.content.blobs import PIECE, Blob, BlobError, Blobs

FINISH_SECONDS = 10.0
"""How long the end of an execution waits for the store to take the rest of a log."""

log = structlog.get_logger(__name__)


class Spool:
    """One long log; bytes beyond `limit` are left out, which its last line says."""

    def __init__(self, blobs: Blobs, key: str, folder: Path, limit: int) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `finish` or `drop`
        self._left, self._limit, self._size, self._read = limit, limit, 0, 0
        self._ended = False
        self._changed = asyncio.Event()
        self._putting = asyncio.create_task(blobs.put(key, self._pieces()))

    @property
    def full(self) -> bool:
        """Whether it takes nothing any more."""
        return self._left <= 0

    def add(self, data: bytes) -> None:
        """Take what was logged. A disk that is full ends the log where it stands."""
        if self.full:
            return
        kept, self._left = data[: self._left], self._left - len(data)
        if self._left < 0:
            kept += f"\nLog file has been truncated to {self._limit} bytes.".encode()
        try:
            self._file.write(kept)
            self._file.flush()
            self._size += len(kept)
        except OSError as error:
            self._left = 0
            log.warning("log.not_spooled", error=str(error))
        if self._size - self._read >= PIECE:
            self._changed.set()

    async def finish(self) -> Blob | None:
        """The whole log in the store; None when the store failed or did not take it in time."""
        self._ended = True
        self._changed.set()
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                return await self._putting
        except (BlobError, OSError, TimeoutError) as error:
            log.warning("log.not_kept", error=str(error) or "The blob store took too long.")
            return None
        finally:
            await self.drop()

    async def drop(self) -> None:
        """Let go of it, finished or not."""
        self._putting.cancel()
        await asyncio.gather(self._putting, return_exceptions=True)
        self._file.close()

    async def _pieces(self) -> AsyncIterator[bytes]:
        """Whole pieces while the code runs, however small those were that it logged, and the rest at its end."""
        while True:
            self._changed.clear()
            unread = min(PIECE, self._size - self._read)
            if unread == PIECE or (unread and self._ended):
                piece = await asyncio.to_thread(os.pread, self._file.fileno(), unread, self._read)
                self._read += len(piece)
                yield piece
            elif self._ended:
                return
            else:
                await self._changed.wait()


class Spools:
    """Opens spools below a folder; with a `limit` of 0 bytes nothing is kept beyond an execution's record."""

    def __init__(self, blobs: Blobs, folder: Path, limit: int) -> None:
        self._blobs, self._folder, self._limit = blobs, folder, limit

    def begin(self, place: str) -> Spool | None:
        """A spool for one log, to be a blob below `place`; None where none is kept or this host's disk fails."""
        if not (self._limit and place):
            return None
        try:
            return Spool(self._blobs, f"{place}/{uuid.uuid4().hex}", self._folder, self._limit)
        except OSError as error:
            log.warning("log.not_spooled", error=str(error))
            return None


async def finish_all(spools: Sequence[tuple[OutputKind, Spool]]) -> list[Whole]:
    """What the store has of an execution's long logs."""
    blobs = await asyncio.gather(*(spool.finish() for _, spool in spools))
    kinds = (kind for kind, _ in spools)
    return [
        Whole(kind=kind, key=blob.key, digest=blob.digest, size=blob.size)
        for kind, blob in zip(kinds, blobs, strict=True)
        if blob is not None
    ]
