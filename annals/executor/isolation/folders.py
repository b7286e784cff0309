"""Walks and measures folders that user code wrote to, without following links or trusting names in them.

Every name is resolved separately, no function recurses, and every walk has limits on time and entries: user code may
nest folders deeper than a path can name, and create millions of them.
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


class WalkBounds(NamedTuple):
    """The limits of one walk."""

    seconds: float = 60.0
    entries: int = 1_000_000


DEFAULT_BOUNDS = WalkBounds()


class Unfinished(OSError):
    """A walk reached its limit, or its tree changed meanwhile."""


class Budget:
    """The remaining time and entries of a walk."""

    def __init__(self, bounds: WalkBounds) -> None:
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
    """Yields each entry of a folder and of all folders below, with its parent's descriptor; parents come first.

    Only OPEN_LEVELS levels are open at a time. The walk returns through `..`, which must be the folder that it came
    from. Other file systems are not entered. `whole` is False if a part could not be read.
    """

    def __init__(self, folder: Path, bounds: WalkBounds = DEFAULT_BOUNDS) -> None:
        self.whole = True
        self._folder = folder
        self._budget = Budget(bounds)
        self._levels: list[_Level] = []
        self._open: list[int] = []
        """The descriptors of the last levels."""

    def __iter__(self) -> Iterator[tuple[int, os.DirEntry[str]]]:
        """Walk. Raises Unfinished, or OSError if the folder itself cannot be read."""
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
        """Return the depth of the current folder below the walk's folder."""
        return len(self._levels) - 1

    @property
    def path(self) -> str:
        """Return the path of the current folder below the walk's folder."""
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
    """`occupied` bytes on the disk, and the `claimed` sizes of the files; `whole` if every entry was seen."""

    occupied: int
    claimed: int
    entries: int
    whole: bool


def size(folder: Path, bounds: WalkBounds = DEFAULT_BOUNDS) -> Size:
    """Measure a folder, as far as it can be read; a file with several names counts once. Blocking; never raises."""
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


def own(folder: Path, uid: int, bounds: WalkBounds = DEFAULT_BOUNDS) -> None:
    """Give a folder and its content to a user and their group. Blocking; needs root. Raises OSError or Unfinished."""
    os.chown(folder, uid, uid, follow_symlinks=False)
    walk = Walk(folder, bounds)
    for handle, entry in walk:
        with suppress(FileNotFoundError):
            os.chown(entry.name, uid, uid, dir_fd=handle, follow_symlinks=False)
    if not walk.whole:
        raise Unfinished(errno.EACCES, "A part of the folder cannot be read.")


def holds(folder: Path, name: str) -> bool:
    """Return True if a relative name exists inside the folder, without links on its path."""
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
    """Open a regular file in a folder; return its descriptor. Raises OSError, also for other kinds of files."""
    parent = os.open(folder, DIRECTORY)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    finally:
        os.close(parent)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(name)
    return fd
