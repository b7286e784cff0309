"""Without control groups, the watchdog measures sandboxes and ends those above their limits."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from annals.domain.ports import Limits
from annals.executor.drivers.sandbox import SandboxDriver
from annals.executor.isolation import cgroups
from annals.executor.service.doctor import checks
from tests.contract.drivers import memory_attempts
from tests.contract.drivers.hosts import NODE, PYTHON, Host, Shell, configuration

HOG = "import time; held = bytearray(500_000_000); time.sleep(600); print(len(held))"
FORKS = "import os, time\\nfor _ in range(900):\\n    if os.fork() == 0: time.sleep(600); os._exit(0)\\ntime.sleep(600)"
REFUSED = {"shared", "shared of exited parents", "shared zero", "system v"} | {
    "memfd",
    "memfd mapped",
    "memfd in sockets",
}
"""Memory that cannot be measured from outside: sandboxes cannot allocate it."""

PYTHON_WORKS = """
import ctypes, mmap, multiprocessing, sqlite3, subprocess, tempfile
def main(context):
    counter, lock = multiprocessing.Value("i", 7), multiprocessing.Lock()
    with lock, tempfile.TemporaryFile() as file:
        file.truncate(8192)
        mmap.mmap(file.fileno(), 8192)[0] = 1
    database = sqlite3.connect("/tmp/x.db")
    database.execute("pragma journal_mode = wal")
    database.execute("create table if not exists t (a)")
    callback = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 3)
    zeros = open("/dev/zero", "rb").read(4)
    printed = subprocess.run(["echo", "hi"], capture_output=True, check=True).stdout
    return context.res.json([counter.value, callback(), list(zeros), printed.decode().strip()])
"""
NODE_WORKS = """
const { Worker } = require('node:worker_threads');
const { execFileSync } = require('node:child_process');
module.exports = async ({ res }) => {
  const shared = new Int32Array(new SharedArrayBuffer(4));
  const code = "const { workerData: w } = require('node:worker_threads'); Atomics.add(w, 0, 7);";
  await new Promise((done) => new Worker(code, { eval: true, workerData: shared }).on('exit', done));
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 100, shared: true });
  return res.json([shared[0], memory.buffer.byteLength, execFileSync('echo', ['hi']).toString().trim()]);
};
"""


@pytest.fixture
async def unbounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shell]:
    monkeypatch.setattr(cgroups, "find", lambda _: None)
    config = configuration(folder, "sandbox")
    config.work.mkdir(mode=0o711)
    driver = SandboxDriver(config)
    await driver.open()
    yield Shell(config, driver)
    await driver.close()


async def test_limits_report_the_watchdog(unbounded: Shell) -> None:
    enforced = unbounded.driver.enforced()

    assert (enforced["memory"], enforced["pids"], enforced["cpu"]) == ("watchdog", "watchdog", "none")


async def test_memory_is_watched(unbounded: Shell) -> None:
    end, _ = await unbounded.run(f"python3 -c '{HOG}'", limits=Limits(cpus=1, memory_mb=128), seconds=90)

    assert (end.out_of_memory, end.breach) == (True, "memory")


async def test_processes_are_counted(unbounded: Shell) -> None:
    end, _ = await unbounded.run(f"python3 -c $'{FORKS}'", limits=Limits(cpus=1, memory_mb=8192), seconds=90)

    assert end.breach == "pids"


@pytest.mark.parametrize("way", memory_attempts.WATCHED)
async def test_memory_is_bounded_however_it_is_allocated(unbounded: Shell, way: str) -> None:
    end, output = await unbounded.run(memory_attempts.command(way), limits=Limits(cpus=1, memory_mb=128), seconds=120)

    assert "HELD" not in output
    if way in REFUSED:
        assert "REFUSED" in output
    else:
        assert (end.out_of_memory, end.breach) == (True, "memory"), output


@pytest.mark.parametrize(
    ("runtime", "source", "answer"),
    [(PYTHON, PYTHON_WORKS, [7, 3, [0, 0, 0, 0], "hi"]), (NODE, NODE_WORKS, [7, 65536, "hi"])],
    ids=["python", "node"],
)
async def test_functions_work_without_the_calls_that_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, source: str, answer: list[object]
) -> None:
    monkeypatch.setattr(cgroups, "find", lambda _: None)
    host = Host(folder, "sandbox")
    await host.open()
    try:
        outcome = await host.execute(await host.function(source, runtime))
    finally:
        await host.close()

    assert outcome.status_code == 200, outcome
    assert msgspec.json.decode(outcome.body) == answer


async def test_doctor_lists_the_memory_that_the_watchdog_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "find", lambda _: None)

    [limits] = [check for check in await checks(configuration(folder, "sandbox")) if check.name == "limits"]

    assert "memory: watchdog" in limits.detail
    assert "/dev/shm" in limits.detail
    assert "memfd_create" in limits.detail
