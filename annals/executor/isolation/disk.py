"""Measures a sandbox's use of the host's disk, including deleted open files, and reports a sandbox above its limit."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog

from annals.executor.isolation import folders
from annals.executor.isolation.open_files import OpenFileUsage

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
