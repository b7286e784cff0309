"""Builds of one project write to disk at one rate; a sandbox that has written more is paused until it may go on."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from annals.executor.builds import supervise
from annals.executor.builds.supervise import WriteThrottles, throttle_writes, writes
from annals.executor.isolation.disk import written
from annals.executor.isolation.limits import processes
from tests.unit.executor.drivers import FakeSandbox

RATE = 1_000_000
CHILD = "import os, subprocess, sys; subprocess.run(['head', '-c', '3000000', '/dev/zero'], stdout=open('f', 'wb'))"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(supervise, "BURST_SECONDS", 1.0)


class Writer(FakeSandbox):
    """Writes `each` bytes between two looks unless it is paused, `most` in all; records its pauses."""

    def __init__(self, folder: Path, each: int, most: int) -> None:
        super().__init__(folder, 1)
        self.each, self.most, self.wrote = each, most, 0
        self.paused = False
        self.pauses: list[float] = []
        self.failures: list[Exception] = []
        self.whole = asyncio.Event()
        self._since = 0.0

    def written(self) -> int:
        assert not self.paused
        if self.failures:
            raise self.failures.pop()
        before, self.wrote = self.wrote, min(self.most, self.wrote + self.each)
        if self.wrote == self.most:
            asyncio.run_coroutine_threadsafe(self._finish(), self._exit.get_loop())
        return before

    async def _finish(self) -> None:
        self.whole.set()

    async def pause(self) -> None:
        self.paused, self._since = True, time.monotonic()

    async def resume(self) -> None:
        self.paused = False
        self.pauses.append(time.monotonic() - self._since)


async def paced(writer: Writer) -> float:
    """Seconds until the writer has written all."""
    began = time.monotonic()
    task = asyncio.create_task(throttle_writes(writer, writes(RATE)))
    async with asyncio.timeout(30):
        await writer.whole.wait()
    task.cancel()
    await asyncio.wait((task,))
    return time.monotonic() - began


async def test_sandbox_beyond_its_burst_is_paused_as_long_as_its_rate_demands(tmp_path: Path) -> None:
    writer = Writer(tmp_path, each=500_000, most=2_600_000)

    seconds = await paced(writer)

    assert seconds >= (2_600_000 - RATE - 2 * writer.each) / RATE
    assert sum(writer.pauses) >= 0.5
    assert not writer.paused


async def test_sandbox_within_its_burst_is_never_paused(tmp_path: Path) -> None:
    writer = Writer(tmp_path, each=100_000, most=900_000)

    await paced(writer)

    assert writer.pauses == []


async def test_failed_measurements_do_not_end_the_throttling(tmp_path: Path) -> None:
    writer = Writer(tmp_path, each=600_000, most=2_000_000)
    writer.failures = [OSError(), ValueError(), RuntimeError()]

    await paced(writer)

    assert writer.failures == []
    assert writer.pauses != []


async def test_cancelled_throttling_leaves_the_sandbox_running(tmp_path: Path) -> None:
    writer = Writer(tmp_path, each=60_000_000, most=10**9)
    task = asyncio.create_task(throttle_writes(writer, writes(RATE)))
    async with asyncio.timeout(30):
        while not writer.paused:
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait((task,))

    assert not writer.paused


async def test_writes_before_the_throttling_began_do_not_count(tmp_path: Path) -> None:
    writer = Writer(tmp_path, each=1, most=1_000_000_010)
    writer.wrote = 1_000_000_000

    await paced(writer)

    assert writer.pauses == []


def test_builds_of_a_project_share_a_throttle_and_projects_do_not() -> None:
    throttles = WriteThrottles(RATE)
    with throttles.of("a") as first, throttles.of("a") as second, throttles.of("b") as other:
        assert first is second
        assert other is not first
    assert first is not None


def test_next_build_of_a_project_pays_for_the_writes_of_its_last_one() -> None:
    throttles = WriteThrottles(RATE)
    with throttles.of("a") as first:
        assert first is not None
        first.spend(size=5 * RATE)
    with throttles.of("b"), throttles.of("a") as next_one:
        assert next_one is not None
        assert next_one.spend(size=1) > 3


def test_throttles_that_nothing_uses_are_forgotten() -> None:
    throttles = WriteThrottles(RATE)
    for number in range(50):
        with throttles.of(f"p{number}"):
            pass

    assert len(throttles) <= 1


def test_rate_of_0_bounds_nothing() -> None:
    with WriteThrottles(0).of("a") as throttle:
        assert throttle is None


def test_written_bytes_include_those_of_children_that_have_ended() -> None:
    with TemporaryDirectory(prefix="pace-", dir="/tmp") as folder:
        program = f"{CHILD}\nprint(flush=True)\nsys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == b"\n"
            found = written(processes(process.pid))
            process.stdin.close()

    assert 3_000_000 <= found < 4_000_000


def test_ended_processes_have_written_nothing() -> None:
    assert written([2**22 + 1]) == 0
