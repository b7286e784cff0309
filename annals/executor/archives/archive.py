"""Unpacks uploaded sources and build artefacts. An archive's headers are not trusted, so the readers are our own."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import msgspec

from annals.executor.archives import squashfs
from annals.executor.archives.decompress import Bounded, ByteSource, open_source
from annals.executor.archives.tar import Member, TarReader
from annals.executor.archives.tree import Parts, TreeWriter
from annals.executor.archives.zip_archive import MAGICS, ZipReader
from annals.executor.errors import BadArchive
from annals.executor.isolation.trash import remove


class ArchiveBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one unpacked archive: sizes in bytes, time in seconds."""

    total_bytes: int = 1024**3
    entries: int = 100_000
    depth: int = 64
    path_bytes: int = 1024
    ratio: int = 1000
    seconds: float = 120.0


class Unpacked(NamedTuple):
    """The number of files that were written, links included, and their bytes."""

    files: int
    size: int


def unpack(archive: Path, target: Path, bounds: ArchiveBounds, *, links: bool = False) -> Unpacked:
    """Unpack an archive into `target`, which must not exist yet. `links` says that it is a build's artefact.

    Blocking. Raises BadArchive, or OSError if the disk fails; then nothing of `target` remains.
    """
    with archive.open("rb") as file, _folder(target) as tree, _opened(file, bounds, images=links) as reader:
        return _write(reader, tree, bounds, links=links)


class ArchiveReader(Protocol):
    """Walks the members of an archive; `copy` hands on the content of the current one."""

    def __iter__(self) -> Iterator[Member]: ...

    def copy(self, write: Callable[[bytes], object], /) -> None: ...


@contextmanager
def _opened(file: BinaryIO, bounds: ArchiveBounds, *, images: bool) -> Iterator[ArchiveReader]:
    """Yield a reader for the format of the first bytes: tar, zip for sources, squashfs if `images` are allowed."""
    deadline = time.monotonic() + bounds.seconds
    compressed = os.fstat(file.fileno()).st_size

    def bounded(source: ByteSource) -> ByteSource:
        return Bounded(source, compressed, most=bounds.total_bytes, ratio=bounds.ratio, deadline=deadline)

    magic = file.peek(4)[:4]  # type: ignore[attr-defined]
    if images and magic == squashfs.MAGIC:
        with squashfs.as_tar(file) as source:
            yield TarReader(bounded(source))
    elif not images and magic in MAGICS:
        yield ZipReader(file, bounds.entries, bounded)
    else:
        yield TarReader(bounded(open_source(file)))


@contextmanager
def _folder(target: Path) -> Iterator[TreeWriter]:
    target.mkdir(mode=0o755)
    tree = TreeWriter(target)
    try:
        yield tree
    except BaseException:
        tree.close()
        remove(target)
        raise
    tree.close()


def _write(reader: ArchiveReader, tree: TreeWriter, bounds: ArchiveBounds, *, links: bool) -> Unpacked:
    files = size = 0
    symlinks: dict[Parts, str] = {}
    for count, member in enumerate(reader, 1):
        if count > bounds.entries:
            raise BadArchive(f"The archive holds more than {bounds.entries:,} entries.")
        parts = checked(member.name, bounds)
        if not parts:
            if member.kind != "directory":
                raise BadArchive("The archive holds an entry without a name.")
            continue
        if member.kind == "directory":
            tree.directory(parts)
            continue
        if member.kind == "file":
            tree.file(parts, member.mode, reader.copy)
        elif not links:
            raise BadArchive(
                f"The archive holds a link ({shown(member.name)}); only files and directories can be uploaded."
            )
        else:
            _link(tree, member, parts, bounds)
            if member.kind == "symlink":
                symlinks[parts] = member.link
        files += 1
        size += member.size
    for parts in symlinks:
        if not _ends_inside(parts, symlinks):
            raise BadArchive(f"The archive holds links that lead outside of it together: {shown('/'.join(parts))}.")
    return Unpacked(files, size)


def _ends_inside(link: Parts, symlinks: Mapping[Parts, str]) -> bool:
    """Return True if a link stays inside when other links are followed too: `up -> ../..`, then `up/..`, would not."""
    at = list(link[:-1])
    left = symlinks[link].split("/")[::-1]
    followed = 0
    while left and followed <= MOST_FOLLOWED:
        step = left.pop()
        if step == "..":
            if not at:
                return False
            at.pop()
        elif step not in ("", "."):
            at.append(step)
            target = symlinks.get(tuple(at), "")
            if target.startswith("/"):
                return ".." not in left  # inside the runtime, and not back out of it
            if target:
                followed += 1
                at.pop()
                left += target.split("/")[::-1]
    return True  # inside, or a loop of links, which leads nowhere


def _link(tree: TreeWriter, member: Member, parts: Parts, bounds: ArchiveBounds) -> None:
    if member.kind == "hardlink":
        tree.hardlink(parts, checked(member.link, bounds) or ("",))
        return
    if not _stays_inside(parts, member.link):
        raise BadArchive(f"The archive holds a link that leads outside of it: {shown(member.name)}.")
    tree.symlink(parts, member.link)


def _stays_inside(parts: Parts, target: str) -> bool:
    """Return True for a relative target that stays below the root, or for an interpreter's link into the runtime."""
    if not target or "\0" in target or len(target.encode()) > 4095:
        return False
    if target.startswith("/"):
        return target.startswith(RUNTIME_ROOTS) and ".." not in target.split("/")
    depth = len(parts) - 1
    for step in target.split("/"):
        if step == "..":
            depth -= 1
            if depth < 0:
                return False
        elif step not in ("", "."):
            depth += 1
    return True


MOST_FOLLOWED = 40
"""The kernel follows this many links in one path."""

RUNTIME_ROOTS = ("/opt/runtime/", "/usr/bin/", "/usr/local/bin/")
"""Folders of interpreters inside a sandbox or image: a virtual environment links to its interpreter."""


def checked(name: str, bounds: ArchiveBounds) -> Parts:
    """Return the parts of a member's name. Raises BadArchive unless each part leads downwards."""
    if name.startswith("/"):
        raise BadArchive(f"The archive holds an absolute name: {shown(name)}.")
    if "\0" in name:
        raise BadArchive("The archive holds a file name with a NUL character.")
    if len(name.encode()) > bounds.path_bytes:
        raise BadArchive(f"The archive holds a file name longer than {bounds.path_bytes} bytes.")
    parts = tuple(step for step in name.split("/") if step not in ("", "."))
    if ".." in parts:
        raise BadArchive(f"The archive holds a name that climbs out of it: {shown(name)}.")
    if len(parts) > bounds.depth:
        raise BadArchive(f"The archive holds folders nested deeper than {bounds.depth}.")
    if any(len(step.encode()) > 255 for step in parts):
        raise BadArchive("The archive holds a file name longer than 255 bytes.")
    return parts


def shown(name: str) -> str:
    """Return a name for a build log: shortened, without control characters."""
    return "".join(c if c.isprintable() else "?" for c in name[:120])
