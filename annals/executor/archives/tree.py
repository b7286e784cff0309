"""Writes extracted files below one folder, never through a link and never outside the folder."""

import os
import stat
from collections.abc import Callable

from annals.executor.errors import BadArchive
from annals.executor.isolation.folders import DIRECTORY

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
