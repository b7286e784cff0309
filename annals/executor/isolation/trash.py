"""Removes folders that user code wrote to: at once if possible, otherwise in the background.

A folder that cannot be removed is moved to the trash folder, so that it blocks nothing, and removed later.
"""

import asyncio
import errno
import os
import secrets
import stat
from pathlib import Path

import structlog

from annals.executor.isolation.folders import DIRECTORY, OPEN_LEVELS, Budget, WalkBounds, own

log = structlog.get_logger()

ANY_NUMBER = 10**12
HANDED_OVER = WalkBounds(seconds=30.0)
AT_ONCE = WalkBounds(seconds=5.0, entries=ANY_NUMBER)
"""The limits of a removal for which the caller waits."""
SLICE = WalkBounds(seconds=2.0, entries=ANY_NUMBER)
"""The limits of one step of the background removal, before it continues with the next folder."""
UNBOUNDED = WalkBounds(seconds=3600.0, entries=ANY_NUMBER)
RETRY_SECONDS = 60.0
LISTED = 10_000
"""How many subfolders of one folder are listed at a time."""
NAME = "trash"


class Trash:
    """The trash folder below a work folder. Stateless: several objects may share one folder."""

    def __init__(self, work: Path) -> None:
        self._folder = work / NAME

    def remove(self, folder: Path) -> None:
        """Remove a folder; after some seconds, leave the rest to the background. Blocking; never raises."""
        moved = self.put(folder)
        if moved is None:
            return
        try:
            remove(moved, AT_ONCE)
        except OSError as refused:
            log.warning("folder.set_aside", folder=str(folder), aside=str(moved), reason=str(refused))

    def put(self, folder: Path) -> Path | None:
        """Move a folder to the trash; return its new path, or None if it was not moved. Never raises.

        A folder that cannot be moved, such as a mount point, stays in its parent.
        """
        aside = self._folder / f"{folder.name[-64:]}.{secrets.token_hex(8)}"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            try:
                folder.rename(aside)
            except PermissionError:
                _make_movable(folder)
                folder.rename(aside)
        except FileNotFoundError:
            return None
        except OSError as refused:
            log.warning("folder.not_removed", folder=str(folder), reason=str(refused))
            return None
        return aside

    async def run(self) -> None:
        """Remove folders from the trash, a slice of time for each in turn, until cancelled."""
        reported: set[str] = set()
        while True:
            try:
                await self.empty(reported)
            except Exception:
                log.exception("trash.failed")
            await asyncio.sleep(RETRY_SECONDS)

    async def empty(self, reported: set[str]) -> None:
        """Remove all folders that can be removed; log each failure once, and add its name to `reported`."""
        failed: set[str] = set()
        while names := await asyncio.to_thread(self._names, failed):
            for name in names:
                refused = await asyncio.to_thread(self._try, name)
                if refused is None or refused.errno == errno.ETIME:
                    continue
                failed.add(name)
                if name not in reported:
                    reported.add(name)
                    log.warning("folder.not_removed", folder=str(self._folder / name), reason=str(refused))

    def hand_over(self, folder: Path, uid: int) -> None:
        """Give a folder and its content to a user; if that fails, replace it by an empty folder of the user.

        Blocking; needs root. Raises OSError if the empty folder cannot be created either.
        """
        try:
            own(folder, uid, HANDED_OVER)
        except OSError as refused:
            log.warning("folder.replaced", folder=str(folder), reason=str(refused))
            self.put(folder)
            folder.mkdir(mode=0o755)
            os.chown(folder, uid, uid)

    def _names(self, without: set[str]) -> list[str]:
        try:
            return sorted(set(os.listdir(self._folder)) - without)
        except OSError:
            return []

    def _try(self, name: str) -> OSError | None:
        try:
            remove(self._folder / name, SLICE)
        except OSError as refused:
            return refused
        return None


def remove(folder: Path, bounds: WalkBounds = UNBOUNDED) -> None:
    """Remove a folder and its content, also unreadable parts. Blocking; a missing folder is no error.

    Raises OSError if a part remains: the next call continues there.
    """
    try:
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    removal = _Removal(parent, bounds)
    try:
        removal.run(folder.name)
    finally:
        removal.close()


class _Level:
    """The names of a folder that are not removed yet; the last one is being removed."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.visited = False
        """True if the last name was emptied as far as possible."""
        self.cut = False
        """True if the folder may contain further names."""


class _Removal:
    """Removes one name of a folder. Folders deeper than OPEN_LEVELS are first moved to just below that name."""

    def __init__(self, parent: int, bounds: WalkBounds) -> None:
        self._budget = Budget(bounds)
        self._device = os.fstat(parent).st_dev
        self._open = [parent]
        self._levels: list[_Level] = []
        self._failure: OSError | None = None

    def close(self) -> None:
        for handle in self._open:
            os.close(handle)

    def run(self, name: str) -> None:
        self._levels.append(_Level(name))
        while self._levels:
            level = self._levels[-1]
            if not level.names:
                self._leave()
            elif self._gone(level):
                level.names.pop()
                level.visited = False
            else:
                level.visited = True
                self._enter(level.names[-1])
        if self._failure:
            raise self._failure

    def _gone(self, level: _Level) -> bool:
        """Return True if the last name of a level is removed, or has finally failed."""
        self._budget.spend()
        try:
            os.rmdir(level.names[-1], dir_fd=self._open[-1])
        except FileNotFoundError:
            return True
        except NotADirectoryError:
            self._unlink(level.names[-1])
            return True
        except OSError as refused:
            if not level.visited and refused.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            self._failed(refused)
        return True

    def _enter(self, name: str) -> None:
        """Go into a folder and remove its files."""
        if len(self._open) > OPEN_LEVELS:
            self._move_up(name)
            return
        try:
            handle = _unlocked(name, self._open[-1])
        except OSError as refused:
            self._failed(refused)
            return
        self._open.append(handle)
        level = _Level()
        self._levels.append(level)
        if os.fstat(handle).st_dev != self._device:
            self._failed(OSError(errno.EXDEV, "The folder contains a mount point"))
            return
        with os.scandir(handle) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    level.names.append(entry.name)
                    level.cut = len(level.names) >= LISTED
                    if level.cut:
                        return
                else:
                    self._budget.spend()
                    self._unlink(entry.name)

    def _move_up(self, name: str) -> None:
        fresh = f".deep-{secrets.token_hex(8)}"
        try:
            os.close(_unlocked(name, self._open[-1]))  # only a folder that can be written to can be moved
            os.rename(name, fresh, src_dir_fd=self._open[-1], dst_dir_fd=self._open[1])
        except OSError as refused:
            self._failed(refused)
        else:
            self._levels[1].names.insert(0, fresh)

    def _leave(self) -> None:
        """Return to the parent folder, which removes the emptied one next."""
        left = self._levels.pop()
        if self._levels:
            os.close(self._open.pop())
            self._levels[-1].visited = not left.cut or self._failure is not None

    def _unlink(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._open[-1])
        except FileNotFoundError:
            pass
        except OSError as refused:
            self._failed(refused)

    def _failed(self, refused: OSError) -> None:
        self._failure = self._failure or refused


def _unlocked(name: str, parent: int) -> int:
    """Open a folder, after giving its owner every right to it; return its descriptor."""
    path = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if os.fstat(path).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.chmod(f"/proc/self/fd/{path}", stat.S_IRWXU)  # by descriptor: the name may have changed
        return os.open(".", DIRECTORY, dir_fd=path)
    finally:
        os.close(path)


def _make_movable(folder: Path) -> None:
    """Give a folder's owner every right to it: it can be neither renamed nor opened otherwise. Raises OSError."""
    parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(_unlocked(folder.name, parent))
    finally:
        os.close(parent)
