"""Limits where the kernel enforces none for us: look often, and end what has grown too large."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import suppress

from annals.domain.ports import Limits

LOOK_SECONDS = 0.1
PAGE = os.sysconf("SC_PAGE_SIZE")


def processes(root: int) -> Iterator[int]:
    """A process and everything below it, parents first, as far as it can be seen; chains of any length."""
    found = [root]
    while found:
        process = found.pop()
        yield process
        with suppress(OSError, ValueError):
            for thread in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{thread}/children", encoding="ascii") as file:
                    found += map(int, file.read().split())


def usage(root: int) -> tuple[int, int]:
    """Resident bytes and number of tasks of a process tree."""
    resident = tasks = 0
    for pid in processes(root):
        with suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{pid}/statm", encoding="ascii") as file:
                resident += int(file.read().split()[1]) * PAGE
            tasks += len(os.listdir(f"/proc/{pid}/task"))
    return resident, tasks


async def watch(root: int, limits: Limits, pids: int, breach: Callable[[str], None]) -> None:
    """Call `breach` once, with `memory` or `pids`, when a process tree has outgrown its limits."""
    while True:
        resident, tasks = await asyncio.to_thread(usage, root)
        if resident > limits.memory_mb * 1024 * 1024:
            breach("memory")
            return
        if tasks > pids:
            breach("pids")
            return
        await asyncio.sleep(LOOK_SECONDS)


def enforced(kernel: frozenset[str]) -> dict[str, str]:
    """How the sandbox driver enforces each limit, given what control groups can bound here."""
    return {
        "memory": "kernel" if "memory" in kernel else "watchdog",
        "cpu": "kernel" if "cpu" in kernel else "none",
        "pids": "kernel" if "pids" in kernel else "watchdog",
        "files": "kernel",
        "temporary": "kernel",
        "build_disk": "watchdog",
        "time": "watchdog",
    }
