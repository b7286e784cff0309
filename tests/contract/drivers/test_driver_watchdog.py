"""Where no control group can be made, the executor looks itself, and ends what has grown too large."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from annals.domain.ports import Limits
from annals.executor import cgroups
from annals.executor.drivers.sandbox import SandboxDriver
from tests.contract.drivers.hosts import Shell, configuration

HOG = "import time; held = bytearray(500_000_000); time.sleep(600); print(len(held))"
FORKS = "import os, time\\nfor _ in range(900):\\n    if os.fork() == 0: time.sleep(600); os._exit(0)\\ntime.sleep(600)"


@pytest.fixture
async def unbounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shell]:
    monkeypatch.setattr(cgroups, "find", lambda _: None)
    config = configuration(folder, "sandbox")
    config.work.mkdir(mode=0o711)
    driver = SandboxDriver(config)
    await driver.open()
    yield Shell(config, driver)
    await driver.close()


async def test_it_says_who_watches(unbounded: Shell) -> None:
    enforced = unbounded.driver.enforced()

    assert (enforced["memory"], enforced["pids"], enforced["cpu"]) == ("watchdog", "watchdog", "none")


async def test_memory_is_watched(unbounded: Shell) -> None:
    end, _ = await unbounded.run(f"python3 -c '{HOG}'", limits=Limits(cpus=1, memory_mb=128), seconds=90)

    assert (end.out_of_memory, end.breach) == (True, "memory")


async def test_processes_are_counted(unbounded: Shell) -> None:
    end, _ = await unbounded.run(f"python3 -c $'{FORKS}'", limits=Limits(cpus=1, memory_mb=8192), seconds=90)

    assert end.breach == "pids"
