"""Sends logs that are too long for an execution's record to the blob store, while the code runs.

They pass through an unnamed file on this host, so a slow store costs no memory and does not delay the code.
"""

import asyncio
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import structlog

from annals.domain.ports import CompleteLog, OutputKind
from annals.store.content.blobs import PIECE, Blob, BlobError, Blobs

FINISH_SECONDS = 10.0
"""How long an execution waits at its end until the store has the rest of a log."""

log = structlog.get_logger(__name__)


class Spool:
    """One long log. Bytes beyond `limit` are dropped; the last line says so."""

    def __init__(self, blobs: Blobs, key: str, folder: Path, limit: int) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `finish` or `drop`
        self._left = limit
        self._limit = limit
        self._size = 0
        self._read = 0
        self._ended = False
        self._changed = asyncio.Event()
        self._putting = asyncio.create_task(blobs.put(key, self._pieces()))

    @property
    def full(self) -> bool:
        """Return True if further output is dropped."""
        return self._left <= 0

    def add(self, data: bytes) -> None:
        """Add output. If the disk is full, the log ends here."""
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
        """Return the whole log as a blob, or None if the store failed or was too slow."""
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
        """Cancel the upload if it is not finished, and close the file."""
        self._putting.cancel()
        await asyncio.gather(self._putting, return_exceptions=True)
        self._file.close()

    async def _pieces(self) -> AsyncIterator[bytes]:
        """Yield pieces of full size while the code runs, and the rest at its end."""
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
    """Opens spools in a folder. With a `limit` of 0 bytes, logs are not spooled."""

    def __init__(self, blobs: Blobs, folder: Path, limit: int) -> None:
        self._blobs, self._folder, self._limit = blobs, folder, limit

    def begin(self, prefix: str) -> Spool | None:
        """Open a spool for a log with a blob key below `prefix`; None if logs are not spooled or the disk fails."""
        if not (self._limit and prefix):
            return None
        try:
            return Spool(self._blobs, f"{prefix}/{uuid.uuid4().hex}", self._folder, self._limit)
        except OSError as error:
            log.warning("log.not_spooled", error=str(error))
            return None


async def finish_all(spools: Sequence[tuple[OutputKind, Spool]]) -> list[CompleteLog]:
    """Finish an execution's spools; return those logs that the store has."""
    blobs = await asyncio.gather(*(spool.finish() for _, spool in spools))
    kinds = (kind for kind, _ in spools)
    return [
        CompleteLog(kind=kind, key=blob.key, digest=blob.digest, size=blob.size)
        for kind, blob in zip(kinds, blobs, strict=True)
        if blob is not None
    ]
