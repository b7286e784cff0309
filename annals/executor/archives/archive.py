"""Unpacks what people upload and what their builds leave: our own reader, because archives lie."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import msgspec

from annals.executor.archives import squashfs
from annals.executor.archives.decompress import Bounded, Source, open_source
from annals.executor.archives.tar import Member, TarReader
from annals.executor.archives.tree import Parts, Tree
from annals.executor.archives.zip_archive import MAGICS, ZipReader
from annals.executor.errors import BadArchive
from annals.executor.isolation.trash import remove


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much one archive may unpack to: sizes in bytes, time in seconds."""

    total_bytes: int = 1024**3
    entries: int = 100_000
    depth: int = 64
    path_bytes: int = 1024
    ratio: int = 1000
    seconds: float = 120.0


class Unpacked(NamedTuple):
    """What was written: regular files (links included) and their bytes."""

    files: int
    size: int


def unpack(archive: Path, target: Path, bounds: Bounds, *, links: bool = False) -> Unpacked:
    """Unpack a source, or with `links` a build's artefact, into `target`, which must not exist yet.

    Blocking. Raises BadArchive, or OSError when the disk fails; either way nothing of `target` remains.
    """
    with archive.open("rb") as file, _folder(target) as tree, _opened(file, bounds, images=links) as reader:
        return _write(reader, tree, bounds, links=links)


class Reader(Protocol):
    """Walks the members of an archive; `copy` hands on the content of the current one."""

    def __iter__(self) -> Iterator[Member]: ...

    def copy(self, write: Callable[[bytes], object], /) -> None: ...


@contextmanager
def _opened(file: BinaryIO, bounds: Bounds, *, images: bool) -> Iterator[Reader]:
    """A reader for what the first bytes say: a tar, a source's zip, or where `images` are allowed a squashfs image."""
    deadline = time.monotonic() + bounds.seconds
    compressed = os.fstat(file.fileno()).st_size

    def bounded(source: Source) -> Source:
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
def _folder(target: Path) -> Iterator[Tree]:
    target.mkdir(mode=0o755)
    tree = Tree(target)
    try:
        yield tree
    except BaseException:
        tree.close()
        remove(target)
        raise
    tree.close()


def _write(reader: Reader, tree: Tree, bounds: Bounds, *, links: bool) -> Unpacked:
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
    """Whether a link stays inside also by way of other ones: `up -> ../..`, then `up/..`, would not."""
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
                return ".." not in left  # the runtime's own, and nothing beside it
            if target:
                followed += 1
                at.pop()
                left += target.split("/")[::-1]
    return True  # or in a ring, which leads nowhere


def _link(tree: Tree, member: Member, parts: Parts, bounds: Bounds) -> None:
    if member.kind == "hardlink":
        tree.hardlink(parts, checked(member.link, bounds) or ("",))
        return
    if not _stays_inside(parts, member.link):
        raise BadArchive(f"The archive holds a link that leads outside of it: {shown(member.name)}.")
    tree.symlink(parts, member.link)


def _stays_inside(parts: Parts, target: str) -> bool:
    """A relative target that climbs no higher than the root, or an interpreter's link into the runtime itself."""
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
"""Links that a kernel follows on one way; beyond, it goes nowhere."""

RUNTIME_ROOTS = ("/opt/runtime/", "/usr/bin/", "/usr/local/bin/")
"""Where interpreters live inside a sandbox or an image: a virtual environment links to its own."""


def checked(name: str, bounds: Bounds) -> Parts:
    """The steps of a member's name, refused unless each leads downwards."""
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
    """A name fit for a build log: short, no control characters."""
    return "".join(c if c.isprintable() else "?" for c in name[:120])
