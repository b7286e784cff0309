"""Folders that user code wrote to: walked and measured without following or trusting anything in them.

Every name is resolved alone, no call recurses, and every walk has a bound of time and entries: user code may nest
folders deeper than a path can name, and make millions of them.
"""

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_LEVELS = 64
"""Levels of a tree that are open at a time."""


class Bounds(NamedTuple):
    """How much of a tree one call may look at."""

    seconds: float = 60.0
    entries: int = 1_000_000


USUAL = Bounds()


class Unfinished(OSError):
    """A walk that reached its bound, or whose tree was changed under it."""


class Budget:
    """What is left of a walk's bounds."""

    def __init__(self, bounds: Bounds) -> None:
        self._deadline = time.monotonic() + bounds.seconds
        self._entries = bounds.entries

    def spend(self) -> None:
        """Count one entry. Raises Unfinished."""
        self._entries -= 1
        if self._entries < 0:
            raise Unfinished(errno.E2BIG, "The folder has too many entries.")
        if self._entries % 64 == 0 and time.monotonic() > self._deadline:
            raise Unfinished(errno.ETIME, "The folder could not be walked in time.")


class _Level(NamedTuple):
    name: str
    identity: tuple[int, int]
    folders: list[str]


class Walk:
    """Yields the handle of a folder with each entry in it, for a folder and all below; parents come before children.

    Only as many levels are open as `OPEN_LEVELS`: the way back up leads through `..`, which must be the folder that the
    walk came from. Other filesystems are not entered. `whole` is False if anything could not be looked at.
    """

    def __init__(self, folder: Path, bounds: Bounds = USUAL) -> None:
        self.whole = True
        self._folder = folder
        self._budget = Budget(bounds)
        self._levels: list[_Level] = []
        self._open: list[int] = []
        """The handles of the last levels."""

    def __iter__(self) -> Iterator[tuple[int, os.DirEntry[str]]]:
        """Raises Unfinished, or OSError if the folder itself cannot be read."""
        try:
            yield from self._enter("", os.open(self._folder, DIRECTORY))
            while self._levels:
                if not self._levels[-1].folders:
                    self._leave()
                    continue
                name = self._levels[-1].folders.pop()
                try:
                    handle = os.open(name, DIRECTORY, dir_fd=self._open[-1])
                except FileNotFoundError:
                    continue
                except OSError:
                    self.whole = False
                    continue
                yield from self._enter(name, handle)
        finally:
            for handle in self._open:
                os.close(handle)
            self._open = []

    @property
    def depth(self) -> int:
        """How many folders below its own the walk is."""
        return len(self._levels) - 1

    @property
    def path(self) -> str:
        """Where the walk is, below its folder."""
        return "/".join(level.name for level in self._levels[1:])

    def _enter(self, name: str, handle: int) -> Iterator[tuple[int, os.DirEntry[str]]]:
        self._open.append(handle)
        self._budget.spend()
        found = os.fstat(handle)
        level = _Level(name, (found.st_dev, found.st_ino), [])
        self._levels.append(level)
        if level.identity[0] != self._levels[0].identity[0]:
            self.whole = False
            return
        with os.scandir(handle) as entries:
            for entry in entries:
                self._budget.spend()
                if entry.is_dir(follow_symlinks=False):
                    level.folders.append(entry.name)
                yield handle, entry
        if len(self._open) > OPEN_LEVELS:
            os.close(self._open.pop(0))

    def _leave(self) -> None:
        self._levels.pop()
        left = self._open.pop()
        try:
            if self._levels and not self._open:
                parent = os.open("..", DIRECTORY, dir_fd=left)
                self._open.append(parent)
                found = os.fstat(parent)
                if (found.st_dev, found.st_ino) != self._levels[-1].identity:
                    raise Unfinished(errno.ESTALE, "The folder was changed while it was walked.")
        finally:
            os.close(left)


class Size(NamedTuple):
    """`occupied` bytes on the disk, bytes that the files `claim` to hold; `whole` if nothing could be missed."""

    occupied: int
    claimed: int
    entries: int
    whole: bool


def size(folder: Path, bounds: Bounds = USUAL) -> Size:
    """How large a folder is, as far as it can be seen; a file of several names counts once. Blocking; never raises."""
    occupied = claimed = entries = 0
    linked: set[int] = set()
    walk = Walk(folder, bounds)
    try:
        for _, entry in walk:
            entries += 1
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            claimed += found.st_size if not stat.S_ISDIR(found.st_mode) else 0
            if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                identity = found.st_dev << 64 | found.st_ino
                if identity in linked:
                    continue
                linked.add(identity)
            occupied += found.st_blocks * 512
    except OSError as lost:
        missing = isinstance(lost, FileNotFoundError) and not entries
        return Size(occupied, claimed, entries, whole=missing)
    return Size(occupied, claimed, entries, walk.whole)


def own(folder: Path, uid: int, bounds: Bounds = USUAL) -> None:
    """Give a folder and all in it to a user and their group. Blocking; as root. Raises OSError, also Unfinished."""
    os.chown(folder, uid, uid, follow_symlinks=False)
    walk = Walk(folder, bounds)
    for handle, entry in walk:
        with suppress(FileNotFoundError):
            os.chown(entry.name, uid, uid, dir_fd=handle, follow_symlinks=False)
    if not walk.whole:
        raise Unfinished(errno.EACCES, "A part of the folder cannot be read.")


def holds(folder: Path, name: str) -> bool:
    """Whether a relative name leads to something inside, the folders on the way being real ones."""
    fds = [os.open(folder, DIRECTORY)]
    try:
        *parents, last = [part for part in name.split("/") if part not in ("", ".")] or [""]
        for part in parents:
            fds.append(os.open(part, DIRECTORY, dir_fd=fds[-1]))
        os.stat(last, dir_fd=fds[-1], follow_symlinks=False)
    except OSError:
        return False
    else:
        return ".." not in parents and last not in ("..", "")
    finally:
        for fd in fds:
            os.close(fd)


def open_regular(folder: Path, name: str) -> int:
    """A handle of a regular file directly in a folder. Raises OSError, also when it is anything else."""
    parent = os.open(folder, DIRECTORY)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    finally:
        os.close(parent)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(name)
    return fd
