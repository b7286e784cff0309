"""The processor time of each role during a measurement: the profile behind a figure."""

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from annals.supervisor.children import children_of
from bench.instance import Instance

_TICKS = os.sysconf("SC_CLK_TCK")
_ROLES = ("api", "worker", "keeper", "executor", "nursery", "postgres", "valkey")
_LEAST_SHARE = 0.02


class Spent:
    """Seconds of processor time by role; `functions` are the function servers, `client` is the benchmark itself."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def shares(self) -> str:
        """Return the share of each role as text, the largest first."""
        whole = sum(self.seconds.values()) or 1.0
        ranked = sorted(self.seconds.items(), key=lambda item: -item[1])
        return "CPU: " + ", ".join(f"{role} {s / whole:.0%}" for role, s in ranked if s / whole >= _LEAST_SHARE)


@contextmanager
def spending(instance: Instance) -> Iterator[Spent]:
    """Measure the processor time of an instance and of this process within the block."""
    spent, before = Spent(), _by_process(instance.process.pid)
    try:
        yield spent
    finally:
        seconds: dict[str, float] = defaultdict(float)
        for pid, (role, total) in _by_process(instance.process.pid).items():
            seconds[role] += total - before.get(pid, (role, 0.0))[1]
        spent.seconds = dict(seconds)


def _by_process(top: int) -> dict[int, tuple[str, float]]:
    found = {os.getpid(): ("client", _seconds(os.getpid()))}
    waiting = [(top, "supervisor")]
    while waiting:
        pid, above = waiting.pop()
        role = _role(pid, above)
        found[pid] = (role, _seconds(pid))
        waiting += [(child, role) for child in children_of(pid)]
    return found


def _role(pid: int, above: str) -> str:
    """Return the role that the process's title names; other processes below the executor are functions."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return above
    named = next((role for role in _ROLES if f"annals {role}" in title or title.startswith(role)), None)
    return named or ("functions" if above in {"executor", "functions"} else above)


def _seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS
