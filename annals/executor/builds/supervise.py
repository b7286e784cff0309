"""How builds end: in time and within their bounds, or refused with a reason."""

import asyncio
import signal
from collections.abc import Awaitable
from pathlib import Path
from typing import NamedTuple

from annals.domain.ports import BuildReason
from annals.executor.builds.output import BuildLog
from annals.executor.builds.pace import keep_pace
from annals.executor.drivers.port import Exit, Sandbox
from annals.executor.errors import SandboxLost
from annals.executor.isolation.disk import MOST_ENTRIES, Bound, Meter, watch
from annals.executor.logs.throttle import Throttle

FILE_TOO_LARGE = 128 + signal.SIGXFSZ
EMPTY_SOURCE = "Error: No source code found."
EMPTY_OUTPUT = "Error: No build output found."


class BuildRefused(Exception):
    """A build that ends here, with its reason and the sentence that becomes the log's last line."""

    def __init__(self, reason: BuildReason, message: str, exit_code: int = 0) -> None:
        super().__init__(message)
        self.reason: BuildReason = reason
        self.exit_code = exit_code


class Bounds(NamedTuple):
    """What one build may take: time, disk and memory."""

    seconds: float
    disk_bytes: int
    memory_mb: int
    writes: Throttle | None = None
    """How fast it may write to disk, together with others that have this throttle."""


async def finished(sandbox: Sandbox, work: Awaitable[Exit], folder: Path, bounds: Bounds, output: BuildLog) -> None:
    """Wait for a build's work in its sandbox, which writes to `folder`. Raises Refused or SandboxLost."""
    overgrown = asyncio.Event()

    async def exceeded() -> None:
        overgrown.set()
        await sandbox.kill()

    meter = Meter(folder, sandbox.held_open)
    watching = [asyncio.create_task(watch(meter, Bound(bounds.disk_bytes), exceeded))]
    if bounds.writes:
        watching.append(asyncio.create_task(keep_pace(sandbox, bounds.writes)))
    try:
        async with asyncio.timeout(bounds.seconds):
            end = await work
    except TimeoutError:
        raise BuildRefused(
            "timeout", f"The build did not end within {bounds.seconds:g} second{'' if bounds.seconds == 1 else 's'}."
        ) from None
    finally:
        for task in watching:
            task.cancel()
    if end.lost and not overgrown.is_set():
        raise SandboxLost(end.lost)
    if overgrown.is_set():
        if meter.entries > MOST_ENTRIES:
            raise BuildRefused("output_too_large", f"The build made more than {MOST_ENTRIES:,} files and folders.")
        raise BuildRefused("output_too_large", f"The build wrote more than {bounds.disk_bytes:,} bytes to disk.")
    if end.code == FILE_TOO_LARGE:
        raise BuildRefused(
            "output_too_large", f"The build wrote a file of more than {bounds.disk_bytes:,} bytes.", end.code
        )
    if end.out_of_memory and end.code != 0:
        raise BuildRefused("out_of_memory", f"The build used more than its {bounds.memory_mb} MB of memory.", end.code)
    if end.breach:
        raise BuildRefused("command_failed", f"The build broke its limit on {end.breach}.", end.code)
    if end.code != 0:
        _explain(end.code, output)


def _explain(code: int, output: BuildLog) -> None:
    for reason, sentence in (("empty_source", EMPTY_SOURCE), ("empty_output", EMPTY_OUTPUT)):
        if output.ends_with(sentence):
            raise BuildRefused(reason, sentence, code)  # type: ignore[arg-type]
    raise BuildRefused("command_failed", f"Build command exited with code {code}.", code)
