"""Measures a sandbox's use of the host's disk, including deleted open files, and reports a sandbox above its limit.

Deleted files that processes keep open use disk space that no walk of names finds.
"""

import asyncio
import os
import stat
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog

from annals.executor.isolation import folders

OPEN_FILES_SECONDS = 2.0
"""The time limit for looking at all processes of a sandbox."""

IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
"""Types of file systems that use no disk."""


class OpenFileUsage(NamedTuple):
    """Bytes on disk in files without a name; `whole` if every file was seen."""

    occupied: int = 0
    whole: bool = True


class _Look:
    """One look at processes, limited in time."""

    def __init__(self) -> None:
        self.whole = True
        self._namespaces: set[int] = set()
        self.sizes: dict[tuple[int, int], int] = {}
        self._deadline = time.monotonic() + OPEN_FILES_SECONDS
        probe = os.memfd_create("probe")
        self._memory = {os.fstat(probe).st_dev}
        """Devices of file systems in memory, which the memory limit covers."""
        os.close(probe)

    def process(self, process: int) -> None:
        """Measure one process. Each thread may have its own descriptors."""
        try:
            self._learn_mounts(process)
            tasks = os.listdir(f"/proc/{process}/task")
        except OSError as refused:
            self._judge(refused)
            return
        try:
            self._count(os.stat(f"/proc/{process}/exe"))
        except OSError as refused:
            self._judge(refused)
        for task in tasks:
            self._handles(f"/proc/{process}/task/{task}")
        self._mappings(f"/proc/{process}")

    def _learn_mounts(self, process: int) -> None:
        """Find the file systems of a process that are in memory."""
        namespace = os.stat(f"/proc/{process}/ns/mnt").st_ino
        if namespace in self._namespaces:
            return
        self._namespaces.add(namespace)
        with open(f"/proc/{process}/mountinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line.split()
                if words[words.index("-") + 1] in IN_MEMORY:
                    major, minor = words[2].split(":")
                    self._memory.add(os.makedev(int(major), int(minor)))

    def _handles(self, task: str) -> None:
        try:
            for handle in os.listdir(f"{task}/fd"):
                if time.monotonic() > self._deadline:
                    self.whole = False
                    return
                self._handle(task, handle)
        except OSError as refused:
            self._judge(refused)

    def _handle(self, task: str, handle: str) -> None:
        try:
            found = os.stat(f"{task}/fd/{handle}")
            if stat.S_ISSOCK(found.st_mode) and _holds_handles(f"{task}/fdinfo/{handle}"):
                self.whole = False
        except OSError as refused:
            self._judge(refused)
        else:
            self._count(found)

    def _mappings(self, process: str) -> None:
        """Measure deleted files that are mapped into memory and were closed."""
        try:
            with open(f"{process}/maps", encoding="utf-8", errors="replace") as file:
                for line in file:
                    if time.monotonic() > self._deadline:
                        self.whole = False
                        return
                    if line.endswith(" (deleted)\n"):
                        self._mapping(process, line)
        except OSError as refused:
            self._judge(refused)

    def _mapping(self, process: str, line: str) -> None:
        span, _, _, device, inode = line.split(maxsplit=5)[:5]
        major, minor = (int(part, 16) for part in device.split(":"))
        identity = os.makedev(major, minor), int(inode)
        if identity[0] in self._memory or identity in self.sizes:
            return
        first, last = (int(address, 16) for address in span.split("-"))
        try:
            self._count(os.stat(f"{process}/map_files/{first:x}-{last:x}"))
        except OSError as refused:
            self._judge(refused)

    def _count(self, found: os.stat_result) -> None:
        if stat.S_ISREG(found.st_mode) and not found.st_nlink and found.st_dev not in self._memory:
            self.sizes[found.st_dev, found.st_ino] = found.st_blocks * 512

    def _judge(self, refused: OSError) -> None:
        """Ignore a process that has ended; note one that may not be read."""
        if isinstance(refused, PermissionError):
            self.whole = False


def _holds_handles(information: str) -> bool:
    """Return True if descriptors that were sent to a socket wait in it, where no process has them."""
    with open(information, encoding="ascii") as file:
        return any(line.startswith("scm_fds:") and line.split()[1] != "0" for line in file)


def open_file_usage(processes: Iterable[int]) -> OpenFileUsage:
    """Measure deleted files that processes keep open or mapped. Blocking, for a limited time."""
    look = _Look()
    for process in processes:
        look.process(process)
    return OpenFileUsage(sum(look.sizes.values()), look.whole)


log = structlog.get_logger()

LOOK_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 20.0
REST = 4
"""The pause before the next measurement, as a multiple of the last one's time, so that large trees cost little."""

MOST_ENTRIES = 1_000_000
LOOK = folders.WalkBounds(seconds=10.0, entries=2 * MOST_ENTRIES + 2)


class DiskBound(NamedTuple):
    """The limit of a sandbox's disk use: bytes, and the number of files and folders."""

    occupied: int
    entries: int = MOST_ENTRIES


class Meter:
    """Measures a folder, and the deleted files that its writers keep open.

    While a part cannot be seen, all space that the file system lost since the last complete measurement counts.
    """

    def __init__(self, folder: Path, held: Callable[[], OpenFileUsage]) -> None:
        self._folder = folder
        self._held = held
        self._seen = 0
        self._used = _used(folder)
        self.entries = 0
        self.occupied = 0

    def look(self) -> None:
        """Measure the disk use now. Blocking, for a limited time."""
        named = folders.size(self._folder, LOOK)
        held = self._held()
        used = _used(self._folder)
        self.occupied = named.occupied + held.occupied
        self.entries = named.entries
        if named.whole and held.whole:
            self._seen, self._used = self.occupied, used
        else:
            self.occupied = max(self.occupied, self._seen + used - self._used)

    def may_exceed(self, most: int) -> bool:
        """Return True if the file system has lost so much space that the next measurement should not wait."""
        return self.occupied + _used(self._folder) - self._used > most


def _used(folder: Path) -> int:
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def written(processes: Iterable[int]) -> int:
    """Return how many bytes processes, and children that they have waited for, have written to files. Blocking.

    Bytes count before they are on disk. File systems in memory do not count.
    """
    size = 0
    for process in processes:
        with suppress(OSError), open(f"/proc/{process}/io", "rb") as file:
            size += next((int(line.split()[1]) for line in file if line.startswith(b"write_bytes:")), 0)
    return size


async def watch(
    meter: Meter, bound: DiskBound, exceeded: Callable[[], Awaitable[None]], every: float = LOOK_SECONDS
) -> None:
    """Measure until a limit is exceeded, then call `exceeded`. A failed measurement is logged, and repeated."""
    pause = every
    while True:
        for _ in range(max(1, int(pause / LOOK_SECONDS))):
            await asyncio.sleep(LOOK_SECONDS)
            if meter.may_exceed(bound.occupied):
                break
        began = time.monotonic()
        try:
            await asyncio.to_thread(meter.look)
        except Exception:
            log.exception("disk.not_measured")
            continue
        if meter.occupied > bound.occupied or meter.entries > bound.entries:
            await exceeded()
            return
        pause = min(LONGEST_PAUSE_SECONDS, max(every, REST * (time.monotonic() - began)))
