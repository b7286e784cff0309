"""The messages of a start: its progress, and the next step for each error of the operating system."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from annals.cli.up import start_failure
from annals.supervisor.supervisor import StartProgress


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (errno.ENOSPC, "Make room"),
        (errno.EACCES, "Give this user access"),
        (errno.EROFS, "not read-only"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "annals doctor"),
    ],
)
def test_start_error_names_its_cause_and_next_step(number: int, step: str) -> None:
    error = OSError(number, os.strerror(number), "/the/folder")

    sentence = start_failure(error, Path("/data"))

    assert os.strerror(number) in sentence
    assert "/the/folder" in sentence
    assert step in sentence
    assert ("Make room" in sentence) == (number == errno.ENOSPC)


async def test_progress_counts_ready_parts_only() -> None:
    said: list[str] = []
    clock = iter([0.0, 1.5, 3.0])
    progress = StartProgress(said.append, parts=3, clock=lambda: next(clock))
    loop = asyncio.get_running_loop()
    good, failed, last = loop.create_future(), loop.create_future(), loop.create_future()
    for name, future in (("postgres", good), ("executor", failed), ("api1", last)):
        progress.watch(name, future)

    good.set_result(None)
    failed.set_exception(RuntimeError)
    last.set_result(None)
    await asyncio.sleep(0)
    failed.exception()

    assert said == [
        "starting 3 processes",
        "postgres is ready (1 of 3, after 1.5 s)",
        "api1 is ready (2 of 3, after 3.0 s)",
    ]
