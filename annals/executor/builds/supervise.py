"""Supervises a build in its sandbox: enforces its limits, and turns its end into success or a typed error."""

import asyncio
import signal
from collections.abc import Awaitable
from pathlib import Path
from typing import NamedTuple

from annals.domain.ports import BuildReason
from annals.executor.builds.output import BuildOutputStream
from annals.executor.builds.write_throttle import throttle_writes
from annals.executor.drivers.port import Exit, Sandbox
from annals.executor.errors import SandboxLost
from annals.executor.isolation.disk import MOST_ENTRIES, DiskBound, Meter, watch
from annals.executor.logs.throttle import Throttle

FILE_TOO_LARGE = 128 + signal.SIGXFSZ
EMPTY_SOURCE = "Error: No source code found."
EMPTY_OUTPUT = "Error: No build output found."


class BuildError(Exception):
    """A build failed: `reason` is its type, and the message becomes the last line of its log."""

    def __init__(self, reason: BuildReason, message: str, exit_code: int = 0) -> None:
        super().__init__(message)
        self.reason: BuildReason = reason
        self.exit_code = exit_code


class BuildBounds(NamedTuple):
    """The limits of one build: time, disk and memory."""

    seconds: float
    disk_bytes: int
    memory_mb: int
    writes: Throttle | None = None
    """Limits how fast it writes to disk, together with other builds that share the throttle."""


async def supervise(
    sandbox: Sandbox, work: Awaitable[Exit], folder: Path, limits: BuildBounds, output: BuildOutputStream
) -> None:
    """Wait for a build's work in its sandbox, which writes to `folder`. Raises BuildError or SandboxLost."""
    too_large = asyncio.Event()

    async def exceeded() -> None:
        too_large.set()
        await sandbox.kill()

    meter = Meter(folder, sandbox.open_file_usage)
    watching = [asyncio.create_task(watch(meter, DiskBound(limits.disk_bytes), exceeded))]
    if limits.writes:
        watching.append(asyncio.create_task(throttle_writes(sandbox, limits.writes)))
    try:
        async with asyncio.timeout(limits.seconds):
            end = await work
    except TimeoutError:
        raise BuildError(
            "timeout", f"The build did not end within {limits.seconds:g} second{'' if limits.seconds == 1 else 's'}."
        ) from None
    finally:
        for task in watching:
            task.cancel()
    if end.lost and not too_large.is_set():
        raise SandboxLost(end.lost)
    if too_large.is_set():
        if meter.entries > MOST_ENTRIES:
            raise BuildError("output_too_large", f"The build made more than {MOST_ENTRIES:,} files and folders.")
        raise BuildError("output_too_large", f"The build wrote more than {limits.disk_bytes:,} bytes to disk.")
    if end.code == FILE_TOO_LARGE:
        raise BuildError(
            "output_too_large", f"The build wrote a file of more than {limits.disk_bytes:,} bytes.", end.code
        )
    if end.out_of_memory and end.code != 0:
        raise BuildError("out_of_memory", f"The build used more than its {limits.memory_mb} MB of memory.", end.code)
    if end.breach:
        raise BuildError("command_failed", f"The build broke its limit on {end.breach}.", end.code)
    if end.code != 0:
        _explain(end.code, output)


def _explain(code: int, output: BuildOutputStream) -> None:
    for reason, sentence in (("empty_source", EMPTY_SOURCE), ("empty_output", EMPTY_OUTPUT)):
        if output.ends_with(sentence):
            raise BuildError(reason, sentence, code)  # type: ignore[arg-type]
    raise BuildError("command_failed", f"Build command exited with code {code}.", code)
