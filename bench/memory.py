"""The memory of the idle stack, as proportional set size."""

import os
import time
from pathlib import Path

from bench.instance import Instance
from bench.results import Figure


def tree(pid: int) -> list[int]:
    """Return every process below a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *tree(int(child))]
    return found


def pss_mib(pid: int) -> float:
    """Return the memory of a process; a shared page counts in proportion."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0].rsplit("/", 1)[-1]


def figures(instance: Instance) -> list[Figure]:
    """Measure an idle instance some seconds after it became ready."""
    time.sleep(5)
    pids = [instance.process.pid, *tree(instance.process.pid)]
    pids = [pid for pid in pids if Path(f"/proc/{pid}/smaps_rollup").exists()]
    ours = [pid for pid in pids if not _name(pid).startswith("postgres")]
    total = sum(pss_mib(pid) for pid in pids)
    note = f"of {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') >> 20} MiB"
    return [
        Figure(name="idle memory of the whole stack", value=total, unit="MiB", target=450, note=note),
        Figure(name="processes beside Postgres's", value=len(ours), unit="processes", target=12),
        Figure(name="start to ready", value=instance.start_seconds, unit="s", target=6),
    ]
