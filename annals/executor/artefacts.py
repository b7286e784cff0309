"""What builds leave becomes an artefact in the blob store, once it has been proved usable."""

import asyncio
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

from annals.domain.ports import Artefact
from annals.executor import folders
from annals.executor.buildend import EMPTY_OUTPUT, Refused
from annals.executor.code import CodeCache
from annals.executor.refusals import BadArchive
from annals.store.blobs import Blobs, BlobTooLarge

ARTEFACTS = ("code.tar.gz", "code.tar", "code.sqfs")


async def keep(folder: Path, *, key: str, limit: int, blobs: Blobs, code: CodeCache) -> Artefact:
    """Store what a build left in `folder`'s `output` under `key`. Raises Refused, BlobError or OSError."""
    too_large = f"The build output is larger than {limit:,} bytes."
    if await asyncio.to_thread(folders.disk_bytes, folder / "output", claimed=True) > limit:
        raise Refused("output_too_large", too_large)
    file = await asyncio.to_thread(_found, folder / "output")
    if file is None:
        raise Refused("empty_output", EMPTY_OUTPUT)
    try:
        if os.fstat(file).st_size > limit:
            raise Refused("output_too_large", too_large)
        stored = await blobs.put(key, _pieces(file), limit=limit)
        artefact = Artefact(key=stored.key, digest=stored.digest, size=stored.size)
        await code.adopt(Path(f"/proc/self/fd/{file}"), stored.digest)
    except BlobTooLarge as refusal:
        raise Refused("output_too_large", too_large) from refusal
    except BadArchive as refusal:
        await blobs.delete(key)
        raise Refused("empty_output", f"The build output cannot be used: {refusal}") from refusal
    finally:
        os.close(file)
    return artefact


def _found(output: Path) -> int | None:
    """A handle of what a build left: an archive, or (compression `skip`) a tree that is archived here."""
    if (output / ".extracted").exists():
        packed = output.parent / "packed.tar"
        with tarfile.open(packed, "w", format=tarfile.PAX_FORMAT) as tar:
            tar.add(output, arcname=".", recursive=True)
        return folders.open_regular(packed.parent, packed.name)
    for name in ARTEFACTS:
        try:
            return folders.open_regular(output, name)
        except OSError:
            continue
    return None


async def _pieces(file: int) -> AsyncIterator[bytes]:
    os.lseek(file, 0, os.SEEK_SET)
    while piece := await asyncio.to_thread(os.read, file, 1024 * 1024):
        yield piece
