"""Checks the output of builds, and stores it as an artefact in the blob store."""

import asyncio
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

from annals.domain.ports import Artefact
from annals.executor.builds.supervise import EMPTY_OUTPUT, BuildError
from annals.executor.errors import BadArchive
from annals.executor.isolation import folders
from annals.executor.pool.code import ARTEFACT, CodeCache
from annals.store.content.blobs import Blobs, BlobTooLarge

ARTEFACTS = ("code.tar.gz", "code.tar", "code.sqfs")


async def store_artefact(folder: Path, *, key: str, limit: int, blobs: Blobs, code: CodeCache) -> Artefact:
    """Store a build's output, below `folder`, as an artefact under `key`. Raises BuildError, BlobError or OSError."""
    too_large = f"The build output is larger than {limit:,} bytes."
    if (await asyncio.to_thread(folders.size, folder / "output")).claimed > limit:
        raise BuildError("output_too_large", too_large)
    try:
        file = await asyncio.to_thread(_open_output, folder / "output", limit)
    except BadArchive as error:
        raise BuildError("empty_output", f"The build output cannot be used: {error}") from error
    except BlobTooLarge as error:
        raise BuildError("output_too_large", too_large) from error
    if file is None:
        raise BuildError("empty_output", EMPTY_OUTPUT)
    try:
        if os.fstat(file).st_size > limit:
            raise BuildError("output_too_large", too_large)
        stored = await blobs.put(key, _pieces(file), limit=limit)
        artefact = Artefact(key=stored.key, digest=stored.digest, size=stored.size)
        await code.adopt(Path(f"/proc/self/fd/{file}"), stored.digest)
    except BlobTooLarge as error:
        raise BuildError("output_too_large", too_large) from error
    except BadArchive as error:
        await blobs.delete(key)
        raise BuildError("empty_output", f"The build output cannot be used: {error}") from error
    finally:
        os.close(file)
    return artefact


def _open_output(output: Path, limit: int) -> int | None:
    """Open a build's output: an archive, or (with compression `skip`) a folder, which is archived first."""
    if (output / ".extracted").exists():
        packed = output.parent / "packed.tar"
        try:
            _pack(output, packed, limit)
        except folders.Unfinished as error:
            raise BadArchive(f"{error.strerror}") from error
        return folders.open_regular(packed.parent, packed.name)
    for name in ARTEFACTS:
        try:
            return folders.open_regular(output, name)
        except OSError:
            continue
    return None


def _pack(output: Path, packed: Path, limit: int) -> None:
    """Archive a folder without following links out of it, even if running code changes the folder.

    Raises BadArchive, BlobTooLarge beyond `limit` bytes, or OSError.
    """
    walk = folders.Walk(output)
    total = 0
    with tarfile.open(packed, "w", format=tarfile.PAX_FORMAT) as tar:
        for handle, entry in walk:
            if walk.depth >= ARTEFACT.depth:
                raise BadArchive(f"It contains folders nested deeper than {ARTEFACT.depth}.")
            name = os.path.join(walk.path, entry.name)
            if entry.is_symlink():
                link = tarfile.TarInfo(name)
                link.type = tarfile.SYMTYPE
                link.linkname = os.readlink(entry.name, dir_fd=handle)
                tar.addfile(link)
            elif entry.is_dir(follow_symlinks=False):
                below = tarfile.TarInfo(name)
                below.type, below.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(below)
            else:
                total += _add(tar, handle, entry.name, name)
                if total > limit:
                    raise BlobTooLarge(str(limit))
    if not walk.whole:
        raise BadArchive("A part of it cannot be read.")


def _add(tar: tarfile.TarFile, folder: int, entry: str, name: str) -> int:
    """Add a regular file; return its size."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(entry, flags, dir_fd=folder)
    except OSError as refused:
        raise BadArchive(f"A file in it cannot be read: {refused.strerror}.") from refused
    with os.fdopen(fd, "rb") as file:
        info = tar.gettarinfo(arcname=name, fileobj=file)
        if not (info.isreg() or info.islnk()):
            raise BadArchive("It contains an entry that is neither a file nor a folder nor a link.")
        tar.addfile(info, file)
    return info.size


async def _pieces(file: int) -> AsyncIterator[bytes]:
    os.lseek(file, 0, os.SEEK_SET)
    while piece := await asyncio.to_thread(os.read, file, 1024 * 1024):
        yield piece
