"""The watchdog finds all processes of a sandbox, and reports a limit that the sandbox exceeds."""

import asyncio
import io
import os
from pathlib import Path

import pytest

from annals.domain.ports import Limits
from annals.executor.isolation import limits
from annals.executor.isolation.limits import SandboxUsage, processes, usage, watch

MB = 1024 * 1024


def test_processes_are_found_however_deep_their_parents_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    def children(path: str, **_: object) -> io.StringIO:
        pid = int(path.split("/")[2])
        return io.StringIO(f"{pid + 1}" if pid < 5000 else "")

    monkeypatch.setattr(os, "listdir", lambda _: ["1"])
    monkeypatch.setattr(limits, "open", children, raising=False)

    assert list(processes(1)) == list(range(1, 5001))


def test_tree_without_a_view_of_its_own_is_counted_by_its_processes() -> None:
    used = usage(os.getpid(), enough=1 << 60)

    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert used.memory > resident / 2
    assert used.tasks >= 1


@pytest.mark.parametrize(
    ("looks", "watched", "broken"),
    [
        ([SandboxUsage(11 * MB, 1), SandboxUsage(11 * MB, 1)], {"memory", "pids"}, "memory"),
        ([SandboxUsage(1 * MB, 9), SandboxUsage(1 * MB, 9)], {"memory", "pids"}, "pids"),
        (
            [SandboxUsage(11 * MB, 1), SandboxUsage(1 * MB, 1), SandboxUsage(1, 9), SandboxUsage(1, 9)],
            {"memory", "pids"},
            "pids",
        ),
        ([SandboxUsage(11 * MB, 1), SandboxUsage(11 * MB, 9), SandboxUsage(11 * MB, 9)], {"pids"}, "pids"),
    ],
    ids=["memory", "processes", "memory for a moment", "memory that the kernel bounds"],
)
async def test_limit_is_exceeded_after_two_measurements_above_it(
    monkeypatch: pytest.MonkeyPatch, looks: list[SandboxUsage], watched: set[str], broken: str
) -> None:
    left = iter(looks)
    monkeypatch.setattr(limits, "usage", lambda *_: next(left))
    monkeypatch.setattr(limits, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(limits, "AGAIN_SECONDS", 0.0)
    heard: list[str] = []
    async with asyncio.timeout(10):
        await watch(1, Limits(cpus=1, memory_mb=10), 5, frozenset(watched), heard.append)

    assert heard == [broken]
    assert list(left) == []
