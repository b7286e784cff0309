"""What a sandbox takes of the host's disk, however it hides it, and the end of one that takes too much."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog

from annals.executor.isolation import folders
from annals.executor.isolation.open_files import Held

log = structlog.get_logger()

LOOK_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 20.0
REST = 4
"""How many times as long as a look took the next one is put off, so that large trees cost little."""

MOST_ENTRIES = 1_000_000
LOOK = folders.Bounds(seconds=10.0, entries=2 * MOST_ENTRIES + 2)


class Bound(NamedTuple):
    """How much of the disk may be taken: bytes, and files and folders."""

    occupied: int
    entries: int = MOST_ENTRIES


class Meter:
    """Measures a folder and what its writers hold beside its names.

    While a part of that cannot be seen, all that the file system loses after the last complete look counts as theirs.
    """

    def __init__(self, folder: Path, held: Callable[[], Held]) -> None:
        self._folder = folder
        self._held = held
        self._seen = 0
        self._used = _used(folder)
        self.entries = 0
        self.occupied = 0

    def look(self) -> None:
        """Set what is taken now. Blocking, for a bounded time."""
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
        """Whether the file system has lost so much since the last look that the next one should not wait."""
        return self.occupied + _used(self._folder) - self._used > most


def _used(folder: Path) -> int:
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def written(processes: Iterable[int]) -> int:
    """Bytes that processes have written to files, with those of children that they have waited for. Blocking.

    The files need not be on disk yet, and memory file systems do not count.
    """
    size = 0
    for process in processes:
        with suppress(OSError), open(f"/proc/{process}/io", "rb") as file:
            size += next((int(line.split()[1]) for line in file if line.startswith(b"write_bytes:")), 0)
    return size


async def watch(
    meter: Meter, bound: Bound, exceeded: Callable[[], Awaitable[None]], every: float = LOOK_SECONDS
) -> None:
    """Call `exceeded` once a bound is passed. A look that fails is logged, and is not the last one."""
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
