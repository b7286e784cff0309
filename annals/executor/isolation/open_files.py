"""Measures deleted files that processes keep open: they use disk space that no walk of names finds."""

import os
import stat
import time
from collections.abc import Iterable
from typing import NamedTuple

SECONDS = 2.0
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
        self._deadline = time.monotonic() + SECONDS
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
