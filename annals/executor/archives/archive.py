"""Unpacks uploaded sources and build artefacts. An archive's headers are not trusted, so the readers are our own.

Files are written below one folder, never through a link and never outside the folder.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import msgspec

from annals.executor.archives.decompress import SQUASHFS, Bounded, ByteSource, open_source, squashfs_as_tar
from annals.executor.archives.tar import Member, TarReader
from annals.executor.archives.zip_archive import MAGICS, ZipReader
from annals.executor.errors import BadArchive
from annals.executor.isolation.folders import DIRECTORY
from annals.executor.isolation.trash import remove

CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Parts = tuple[str, ...]


class TreeWriter:
    """Keeps the folders of the current path open, and resolves every name step by step from the root's descriptor."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._fds = [os.open(root, DIRECTORY)]
        self._path: list[str] = []

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds, self._path = [], []

    def directory(self, parts: Parts) -> int:
        """Return the descriptor of a folder, which is created if it is missing; valid until the next call."""
        shared = 0
        while shared < min(len(parts), len(self._path)) and parts[shared] == self._path[shared]:
            shared += 1
        while len(self._path) > shared:
            os.close(self._fds.pop())
            self._path.pop()
        for name in parts[shared:]:
            self._fds.append(self._enter(self._fds[-1], name))
            self._path.append(name)
        return self._fds[-1]

    def _enter(self, parent: int, name: str) -> int:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
            created = True
        except FileExistsError:
            created = False
        try:
            fd = os.open(name, DIRECTORY, dir_fd=parent)
        except OSError as clash:
            raise BadArchive(f"The archive uses {name!r} both as a folder and as something else.") from clash
        if created:
            os.fchmod(fd, 0o755)  # for any umask
        return fd

    def file(self, parts: Parts, mode: int, copy: Callable[[Callable[[bytes], object]], None]) -> None:
        """Write one regular file. As in tar, a later file of the same name replaces an earlier one."""
        parent = self._fresh(parts)
        fd = os.open(parts[-1], CREATE, 0o600, dir_fd=parent)
        with os.fdopen(fd, "wb", buffering=0) as file:
            copy(file.write)
            os.fchmod(fd, 0o755 if mode & 0o111 else 0o644)

    def symlink(self, parts: Parts, target: str) -> None:
        os.symlink(target, parts[-1], dir_fd=self._fresh(parts))

    def hardlink(self, parts: Parts, target: Parts) -> None:
        """Add a name for a file that was written before."""
        source = os.dup(self.directory(target[:-1]))
        try:
            found = os.stat(target[-1], dir_fd=source, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                raise BadArchive("The archive links to something that is not a file.")
            if target != parts:
                os.link(target[-1], parts[-1], src_dir_fd=source, dst_dir_fd=self._fresh(parts), follow_symlinks=False)
        except FileNotFoundError as missing:
            raise BadArchive("The archive links to a file that it does not hold.") from missing
        finally:
            os.close(source)

    def _fresh(self, parts: Parts) -> int:
        """Remove a file of this name, if there is one; return its parent's descriptor."""
        parent = self.directory(parts[:-1])
        try:
            found = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return parent
        if stat.S_ISDIR(found.st_mode):
            raise BadArchive(f"The archive uses {parts[-1]!r} both as a folder and as something else.")
        os.unlink(parts[-1], dir_fd=parent)
        return parent


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
    if images and magic == SQUASHFS:
        with squashfs_as_tar(file) as source:
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
