"""The watchdog for limits that the kernel cannot enforce here: it measures often, and reports a sandbox above a limit.

The memory of a sandbox is: resident and swapped pages of its processes, their page tables, and the content of its file
systems in memory. Some memory cannot be measured from outside: of descriptors that only a socket holds, of System V, or
shared and no longer mapped. `seccomp` denies the calls that create it.
"""

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from annals.domain.ports import Limits

LOOK_SECONDS = 0.1
AGAIN_SECONDS = 0.01
TEMPORARY = ("tmp", "dev/shm")
"""The sandbox's file systems in memory that its code can write to."""

_STATUS = re.compile(rb"^(RssAnon|RssFile|RssShmem|VmSwap|VmPTE|HugetlbPages|Threads):\s+(\d+)", re.MULTILINE)
_ROLLUP = re.compile(rb"^(Pss_Anon|Pss_File|Pss_Shmem|SwapPss):\s+(\d+)", re.MULTILINE)


class SandboxUsage(NamedTuple):
    """The memory in bytes and the number of tasks of a sandbox."""

    memory: int
    tasks: int


def processes(root: int) -> Iterator[int]:
    """Yield a process and its descendants, parents first, as far as they can be seen."""
    found = [root]
    while found:
        process = found.pop()
        yield process
        with suppress(OSError, ValueError):
            for thread in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{thread}/children", encoding="ascii") as file:
                    found += map(int, file.read().split())


def usage(root: int, enough: int) -> SandboxUsage:
    """Measure the sandbox of the bubblewrap process `root`. Above `enough` bytes, count shared pages only once."""
    inside = _inside(root)
    if inside:
        folders = [f"{inside}/proc/{name}" for name in _names(f"{inside}/proc") if name.isdigit()]
    else:
        folders = [f"/proc/{pid}" for pid in processes(root)]
    temporary = _temporary(inside) if inside else 0
    found = [_status(folder) for folder in folders]
    tasks = sum(status.get("Threads", 0) for status in found)
    memory = _sum(found, temporary)
    if memory > enough:
        found = [status | _shared_once(folder) for folder, status in zip(folders, found, strict=True)]
        memory = _sum(found, temporary)
    return SandboxUsage(memory, tasks)


def _inside(root: int) -> str:
    """Return the path of the sandbox's root folder; empty before its set-up, or without permission to see it.

    The sandbox's own /proc lists all its processes, including those with other parents.
    """
    with suppress(OSError, StopIteration):
        first = next(pid for pid in processes(root) if pid != root)
        inside = f"/proc/{first}/root"
        if os.stat(f"{inside}/proc").st_dev != os.stat("/proc").st_dev:
            return inside
    return ""


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _temporary(inside: str) -> int:
    """Return the bytes in a sandbox's file systems in memory, including deleted files."""
    size = 0
    for name in TEMPORARY:
        with suppress(OSError):
            found = os.statvfs(f"{inside}/{name}")
            size += (found.f_blocks - found.f_bfree) * found.f_frsize
    return size


def _read(file: str, pattern: re.Pattern[bytes]) -> dict[str, int]:
    try:
        with open(file, "rb") as opened:
            return {name.decode(): int(value) for name, value in pattern.findall(opened.read())}
    except OSError:
        return {}


def _status(folder: str) -> dict[str, int]:
    return _read(f"{folder}/status", _STATUS)


def _shared_once(folder: str) -> dict[str, int]:
    """Return a process's share of its pages: shared ones are divided among the processes that map them."""
    found = _read(f"{folder}/smaps_rollup", _ROLLUP)
    names = {"Pss_Anon": "RssAnon", "Pss_File": "RssFile", "Pss_Shmem": "RssShmem", "SwapPss": "VmSwap"}
    return {names[name]: value for name, value in found.items()}


def _sum(found: list[dict[str, int]], temporary: int) -> int:
    """Return the sum in bytes. Mapped files in memory are counted with their file systems."""
    own = sum(
        status.get(name, 0) for status in found for name in ("RssAnon", "RssFile", "VmSwap", "VmPTE", "HugetlbPages")
    )
    mapped = sum(status.get("RssShmem", 0) for status in found)
    return own * 1024 + max(mapped * 1024, temporary)


async def watch(root: int, limits: Limits, pids: int, watched: frozenset[str], breach: Callable[[str], None]) -> None:
    """Call `breach` once, with `memory` or `pids`, when a sandbox exceeds one of the watched limits."""
    most = limits.memory_mb * 1024 * 1024
    while True:
        for limit in await _broken(root, most, pids) & watched:
            # A process between fork and exec shares its parent's memory, which was counted twice: measure again.
            await asyncio.sleep(AGAIN_SECONDS)
            if limit in await _broken(root, most, pids):
                breach(limit)
                return
        await asyncio.sleep(LOOK_SECONDS)


async def _broken(root: int, memory: int, pids: int) -> frozenset[str]:
    used = await asyncio.to_thread(usage, root, memory)
    return frozenset(name for name, over in (("memory", used.memory > memory), ("pids", used.tasks > pids)) if over)


def enforced(kernel: frozenset[str]) -> dict[str, str]:
    """Return how the sandbox driver enforces each limit, if control groups can limit the resources in `kernel`."""
    return {
        "memory": "kernel" if "memory" in kernel else "watchdog",
        "cpu": "kernel" if "cpu" in kernel else "none",
        "pids": "kernel" if "pids" in kernel else "watchdog",
        "files": "kernel",
        "temporary": "kernel",
        "build_disk": "watchdog",
        "time": "watchdog",
    }
