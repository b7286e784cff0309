"""Files that processes hold open although they have no name any more: they take space that no walk of names finds."""

import os
import stat
import time
from collections.abc import Iterable
from typing import NamedTuple

SECONDS = 2.0
"""How long one look at all processes of a sandbox may take."""

IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
"""Types of file systems that take no disk."""


class Held(NamedTuple):
    """Bytes on disk that no walk of names finds; `whole` if nothing could be missed."""

    occupied: int = 0
    whole: bool = True


class _Look:
    """One look at processes, for a bounded time."""

    def __init__(self) -> None:
        self.whole = True
        self._namespaces: set[int] = set()
        self.sizes: dict[tuple[int, int], int] = {}
        self._deadline = time.monotonic() + SECONDS
        probe = os.memfd_create("probe")
        self._memory = {os.fstat(probe).st_dev}
        """File systems that are bounded as memory is."""
        os.close(probe)

    def process(self, process: int) -> None:
        """Threads may have handles of their own: each is looked at."""
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
        """Which file systems of a process are in memory."""
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
        """Files that are mapped into memory and were closed."""
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
        """What has ended meanwhile holds nothing; what is closed to us may hold anything."""
        if isinstance(refused, PermissionError):
            self.whole = False


def _holds_handles(information: str) -> bool:
    """Whether handles that were sent to a socket wait in it, where no process has them."""
    with open(information, encoding="ascii") as file:
        return any(line.startswith("scm_fds:") and line.split()[1] != "0" for line in file)


def held_open(processes: Iterable[int]) -> Held:
    """The space of files without a name that processes hold, also those in mappings. Blocking, for a bounded time."""
    look = _Look()
    for process in processes:
        look.process(process)
    return Held(sum(look.sizes.values()), look.whole)
