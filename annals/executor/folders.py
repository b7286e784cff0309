"""Folders that user code wrote to: measured and removed without following or trusting anything in them."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

WALK = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(folder: Path) -> None:
    """Remove a folder and all in it, also what was made unreadable on purpose. Blocking; a missing one is fine."""

    def open_up(_: Callable[..., Any], path: str, __: Any) -> None:
        parent = os.path.dirname(path)
        for closed in (parent, path):
            if os.path.lexists(closed) and not os.path.islink(closed):
                os.chmod(closed, stat.S_IRWXU)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.lexists(path):
            os.unlink(path)

    if folder.exists():
        shutil.rmtree(folder, onerror=open_up)


def own(folder: Path, uid: int) -> None:
    """Give a folder and all in it to a user and their group. Blocking; as root. No link is followed."""
    for _, below, names, handle in os.fwalk(folder, follow_symlinks=False):
        os.chown(handle, uid, uid)
        for name in (*below, *names):
            os.chown(name, uid, uid, dir_fd=handle, follow_symlinks=False)


def disk_bytes(folder: Path, *, claimed: bool = False) -> int:
    """Bytes that a folder occupies, or with `claimed` what its files say they hold; links not followed.

    Blocking; what vanishes meanwhile is not counted.
    """
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    total += disk_bytes(Path(entry.path), claimed=claimed)
                else:
                    found = entry.stat(follow_symlinks=False)
                    total += found.st_size if claimed else found.st_blocks * 512
    except OSError:
        return total
    return total


def holds(folder: Path, name: str) -> bool:
    """Whether a relative name leads to something inside, the folders on the way being real ones."""
    fds = [os.open(folder, WALK)]
    try:
        *parents, last = [part for part in name.split("/") if part not in ("", ".")] or [""]
        for part in parents:
            fds.append(os.open(part, WALK, dir_fd=fds[-1]))
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
    parent = os.open(folder, WALK)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    finally:
        os.close(parent)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(name)
    return fd
