"""Output of a sandbox is read at a limited rate; a faster writer blocks."""

import asyncio
import os
import subprocess

import pytest

from annals.executor.drivers.descriptors import open_terminal
from annals.executor.drivers.process import ProcessSandbox
from annals.executor.logs import throttle


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
async def test_flood_of_output_is_read_at_a_bounded_rate(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(throttle, "_PRINTED", throttle.Rates(size=100_000, items=1e9, reads=1e9, cpu=1e9))
    read, write = open_terminal() if kind == "terminal" else os.pipe()
    alive, held = os.pipe()
    process = subprocess.Popen(["yes"], stdout=write, pass_fds=(held,))
    os.close(write)
    os.close(held)
    heard: list[int] = []
    sandbox = ProcessSandbox(
        process,
        alive=alive,
        output=read,
        sink=lambda piece: heard.append(len(piece)),
        address=None,
        concurrency=1,
        announces=False,
        group=None,
        done=lambda: None,
    )
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < 1.0 or not heard:
        await asyncio.sleep(0)
    flooded = sum(heard)
    await sandbox.kill()

    assert 0 < flooded < 100_000 * (loop.time() - began + 1) + 100_000
