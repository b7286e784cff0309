"""Large bytes outside the database, in a folder or a bucket: a blob is whole or missing, and durable once put.

One file because every way to write, read and remove a blob follows the same rules of durability.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

PIECE = 1024 * 1024
"""The number of bytes that are hashed, written or passed on at once."""

SWEEP_BATCH = 500

KnownKeys = Callable[[Sequence[str]], Awaitable[set[str]]]
"""Returns those of some keys that a row or an event names."""

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_WORK = ".partial"
_YOUNG_SECONDS = 5.0
"""An unfinished file is at least so old: a writer locks its file sooner."""


class BlobError(Exception):
    """The blob store failed."""


class BlobMissing(BlobError):
    """There is no blob under this key."""


class BlobTooLarge(BlobError):
    """More bytes arrived than were allowed; nothing was stored."""


class BlobKeyInvalid(BlobError, ValueError):
    """A key is segments of letters, digits, `.`, `_` and `-`, each beginning with a letter or digit, joined by `/`."""


class Blob(NamedTuple):
    """A stored blob: `digest` is the SHA-256 of its `size` bytes, in hex."""

    key: str
    size: int
    digest: str


class BlobInfo(NamedTuple):
    """A blob as the store lists it."""

    key: str
    size: int
    modified_at: datetime


class Blobs:
    """A blob store, whose keys look like paths. Several processes may use one folder or bucket."""

    def __init__(self, store: ObjectStore, folder: Path | None) -> None:
        self._store, self._folder = store, folder

    @classmethod
    def open(cls, location: str | Path) -> Self:
        """Open a folder (made if missing, mode 0700) or a `file://`, `s3://`, `gs://`, `az://` or `memory://` URL.

        Credentials of buckets come from the environment variables of the vendors' own tools. Raises BlobError.
        """
        url = str(location)
        try:
            if "://" in url and not url.startswith("file://"):
                return cls(from_url(url), None)
            folder = Path(unquote(urlsplit(url).path) if url.startswith("file://") else url).absolute()
            (folder / _WORK).mkdir(parents=True, exist_ok=True, mode=0o700)
            return cls(LocalStore(folder), folder)
        except (BaseError, OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]  # the other lines help to debug the library only
            raise BlobError(f"The blob store {url} cannot be opened: {reason}") from error

    async def put(self, key: str, data: bytes | AsyncIterable[bytes], *, limit: int | None = None) -> Blob:
        """Store bytes under a key, replacing a former blob; on return they survive a crash of the machine.

        Raises BlobTooLarge beyond `limit` bytes, BlobKeyInvalid, BlobError; then nothing is stored.
        """
        check(key)
        counted = _Counted(_pieces(data), limit)
        if self._folder is not None:
            await self._put_file(self._folder, key, counted)
        else:
            await _guarded(obstore.put_async(self._store, key, aiter(counted)))
        return Blob(key, counted.size, counted.hash.hexdigest())

    async def get(self, key: str) -> bytes:
        """Return all bytes of a blob. Raises BlobMissing."""
        found = await _guarded(obstore.get_async(self._store, check(key)))
        return bytes(await found.bytes_async())

    async def stream(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield a blob's bytes from `start` to before `end`. Raises BlobMissing before the first piece."""
        options: Any = {"range": {"offset": start}} if end is None else {"range": (start, end)}
        if start == 0 and end is None:
            options = None  # an empty blob has no satisfiable range
        found = await _guarded(obstore.get_async(self._store, check(key), options=options))
        async for piece in found.stream(min_chunk_size=PIECE):
            yield bytes(piece)

    async def head(self, key: str) -> BlobInfo:
        """Return the size and time of a blob. Raises BlobMissing."""
        meta = await _guarded(obstore.head_async(self._store, check(key)))
        return BlobInfo(key, meta["size"], meta["last_modified"])

    async def delete(self, *keys: str) -> None:
        """Remove blobs; a missing blob is no error."""
        for key in keys:
            try:
                await _guarded(obstore.delete_async(self._store, check(key)))
            except BlobMissing:
                continue

    async def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        """Yield all blobs below a prefix of whole segments, in any order."""
        async for page in obstore.list(self._store, check(prefix), chunk_size=500):
            for meta in page:
                yield BlobInfo(meta["path"], meta["size"], meta["last_modified"])

    async def put_part(self, upload: str, number: int, data: bytes | AsyncIterable[bytes], *, limit: int) -> Blob:
        """Store part `number` of an upload, from 0; parts may arrive in any order, at once, and twice."""
        return await self.put(f"{upload}/{number:06d}", data, limit=limit)

    async def parts(self, upload: str) -> dict[int, int]:
        """Return the sizes of the stored parts of an upload, by number."""
        return {int(info.key.rpartition("/")[2]): info.size async for info in self.list(upload)}

    async def compose(self, upload: str, numbers: Iterable[int], key: str, *, limit: int | None = None) -> Blob:
        """Join parts in the given order into one blob; the parts stay. Raises BlobMissing for a missing part."""

        async def joined() -> AsyncIterator[bytes]:
            for number in numbers:
                async for piece in self.stream(f"{upload}/{number:06d}"):
                    yield piece

        return await self.put(key, joined(), limit=limit)

    async def discard(self, upload: str) -> None:
        """Remove an upload's parts."""
        await self.delete(*[info.key async for info in self.list(upload)])

    async def forget_unfinished(self) -> int:
        """Remove the unfinished files of dead processes and return their number. Raises BlobError."""
        if self._folder is None:
            return 0  # a bucket's own rules end incomplete uploads
        try:
            return await asyncio.to_thread(_forget_unfinished, self._folder / _WORK, time.time() - _YOUNG_SECONDS)
        except OSError as error:
            raise BlobError(f"Unfinished blobs cannot be removed: {error}") from error

    async def _put_file(self, folder: Path, key: str, data: "_Counted") -> None:
        work = folder / _WORK / uuid.uuid4().hex
        try:
            descriptor = await asyncio.to_thread(os.open, work, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # until the file has its key: see `forget_unfinished`
                async for piece in data:
                    await asyncio.to_thread(_write_all, descriptor, piece)
                await asyncio.to_thread(os.fsync, descriptor)
                await asyncio.to_thread(_publish, work, folder, key)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise BlobError(f"The blob {key} cannot be written: {error}") from error
        finally:
            work.unlink(missing_ok=True)


async def sweep(blobs: Blobs, prefix: str, known: KnownKeys, *, now: datetime, grace: timedelta) -> list[str]:
    """Delete blobs below `prefix` that are older than `grace` and not `known`, and return their keys.

    They are left by appends that never committed and by aborted uploads. The grace must exceed the longest time between
    writing a blob and recording the row or event that names it.
    """
    removed: list[str] = []
    old: list[str] = []
    async for info in blobs.list(prefix):
        if now - info.modified_at > grace:
            old.append(info.key)
        if len(old) >= SWEEP_BATCH:
            removed += await _remove_unknown(blobs, old, known)
            old = []
    return removed + await _remove_unknown(blobs, old, known)


async def _remove_unknown(blobs: Blobs, keys: Sequence[str], known: KnownKeys) -> list[str]:
    named = await known(keys) if keys else set()
    orphans = [key for key in keys if key not in named]
    await blobs.delete(*orphans)
    return orphans


class _Counted:
    """Passes pieces on, counts and hashes them, and stops at a limit."""

    def __init__(self, data: AsyncIterator[bytes], limit: int | None) -> None:
        self._data, self._limit = data, limit
        self.size, self.hash = 0, hashlib.sha256()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._data:
            self.size += len(piece)
            if self._limit is not None and self.size > self._limit:
                raise BlobTooLarge(f"More than the {self._limit} bytes that are allowed")
            self.hash.update(piece)
            yield piece


async def _pieces(data: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield pieces of about PIECE bytes from pieces of any size."""
    if isinstance(data, bytes):
        for start in range(0, len(data), PIECE):
            yield data[start : start + PIECE]
        return
    waiting = bytearray()
    async for piece in data:
        waiting += piece
        if len(waiting) >= PIECE:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def check(key: str) -> str:
    """Return the key. Raises BlobKeyInvalid for a key that could leave the store or is ambiguous."""
    if len(key) > 900 or not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise BlobKeyInvalid(f"{key[:200]!r} is no key: {BlobKeyInvalid.__doc__}")
    return key


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _forget_unfinished(folder: Path, before: float) -> int:
    removed = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime > before:
                continue
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                removed += 1
            except BlockingIOError:
                continue  # its writer is alive
            finally:
                os.close(descriptor)
    return removed


def _publish(work: Path, folder: Path, key: str) -> None:
    """Move a finished file to its key durably, new folders included."""
    target = folder / key
    made = [parent for parent in target.parents if parent.is_relative_to(folder) and not parent.exists()]
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    work.replace(target)
    for changed in {target.parent, *(parent.parent for parent in made)}:
        descriptor = os.open(changed, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


async def _guarded(work: Any) -> Any:
    try:
        return await work
    except (NotFoundError, FileNotFoundError) as error:
        raise BlobMissing(str(error)) from error
    except (BaseError, OSError) as error:
        raise BlobError(str(error)) from error
