"""The cache of unpacked deployments on this host: each artefact once for all its instances, limited in size."""

import asyncio
import hashlib
import itertools
import os
import time
from pathlib import Path

from annals.domain.ports import Artefact
from annals.executor.archives.archive import ArchiveBounds, unpack
from annals.executor.isolation import folders
from annals.executor.isolation.trash import Trash
from annals.store.content.blobs import BlobMissing, Blobs

ARTEFACT = ArchiveBounds(total_bytes=8 * 1024**3, entries=1_000_000, path_bytes=4096, seconds=600)


class CodeMissing(Exception):
    """The artefact is not in the blob store, or its content has changed."""


class _Entry:
    def __init__(self, task: "asyncio.Task[int]", path: Path) -> None:
        self.task = task
        self.path = path
        self.users = 0
        self.size = 0
        self.used = time.monotonic()


class CodeCache:
    """Folders named by digest. Folders in use are never removed. Only one process may use the cache."""

    def __init__(self, folder: Path, blobs: Blobs, most_bytes: int) -> None:
        self._folder = folder
        self._trash = Trash(folder.parent)
        self._blobs = blobs
        self._most = most_bytes
        self._entries: dict[str, _Entry] = {}
        self._numbers = itertools.count()

    async def take(self, artefact: Artefact) -> Path:
        """Return the folder of an artefact, fetched and unpacked if it is missing; give it back with `release`.

        Raises CodeMissing, BadArchive, BlobError or OSError.
        """
        entry = self._entries.get(artefact.digest)
        if entry is None or (entry.task.done() and entry.task.exception()):
            path = self._folder / artefact.digest
            entry = _Entry(asyncio.create_task(self._fetch(artefact, path)), path)
            self._entries[artefact.digest] = entry
        entry.users += 1
        try:
            entry.size = await asyncio.shield(entry.task)
        except BaseException:
            entry.users -= 1
            raise
        entry.used = time.monotonic()
        await self._shrink()
        return entry.path

    def release(self, digest: str) -> None:
        if entry := self._entries.get(digest):
            entry.users -= 1
            entry.used = time.monotonic()

    async def adopt(self, archive: Path, digest: str) -> None:
        """Unpack an artefact that was just built here, which also verifies it. Raises BadArchive."""
        if digest not in self._entries:
            path = self._folder / digest
            self._entries[digest] = _Entry(asyncio.create_task(self._unpack(archive, path)), path)
        entry = self._entries[digest]
        try:
            entry.size = await asyncio.shield(entry.task)
        except BaseException:
            if entry.task.done():
                self._entries.pop(digest, None)
            raise

    def holds(self, digest: str, name: str) -> bool:
        """Return True if an unpacked artefact contains this name. Blocking."""
        return folders.holds(self._folder / digest, name)

    async def drop(self, digest: str) -> None:
        """Remove an artefact's folder unless it is in use."""
        entry = self._entries.get(digest)
        if entry and entry.users == 0 and entry.task.done():
            del self._entries[digest]
            await asyncio.to_thread(self._trash.remove, entry.path)

    async def _fetch(self, artefact: Artefact, path: Path) -> int:
        archive = self._folder / f".{artefact.digest}.{next(self._numbers)}"
        try:
            await fetch(self._blobs, artefact, archive)
            return await self._unpack(archive, path)
        finally:
            archive.unlink(missing_ok=True)

    async def _unpack(self, archive: Path, path: Path) -> int:
        temporary = path.with_name(f".{path.name}.{next(self._numbers)}.unpacked")
        unpacked = await asyncio.to_thread(unpack, archive, temporary, ARTEFACT, links=True)
        temporary.rename(path)
        return unpacked.size

    async def _shrink(self) -> None:
        """Remove the least recently used folders until the cache is within its limit."""
        total = sum(entry.size for entry in self._entries.values())
        for digest, entry in sorted(self._entries.items(), key=lambda item: item[1].used):
            if total <= self._most:
                return
            if entry.users == 0 and entry.task.done():
                total -= entry.size
                await self.drop(digest)


async def fetch(blobs: Blobs, artefact: Artefact, path: Path) -> None:
    """Copy a blob to a file and verify its digest. Raises CodeMissing, BlobError or OSError."""
    digest = hashlib.sha256()

    def keep(piece: bytes) -> None:
        digest.update(piece)
        view = memoryview(piece)
        while view:
            view = view[os.write(fd, view) :]

    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        async for piece in blobs.stream(artefact.key):
            await asyncio.to_thread(keep, piece)
    except BlobMissing as missing:
        raise CodeMissing("The archive is no longer in the blob store.") from missing
    finally:
        os.close(fd)
    if digest.hexdigest() != artefact.digest:
        raise CodeMissing("The archive in the blob store is not the one that was stored: its digest differs.")
