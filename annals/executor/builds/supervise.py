"""Supervises a build in its sandbox: its output, its limits, and its end, which becomes success or a typed error.

Output goes to the log as text, limited in size, in pieces, always with its last lines.

Builds of one project share a limit on how fast they write to the host's disk, which commits of the event log use as
well. Linux delays buffered writes only after they have filled a good part of the host's memory, and control groups of
version 1 do not limit them. So a sandbox that writes faster than its limit is paused until it may write again.
"""

import asyncio
import re
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import structlog

from annals.domain.ports import BuildReason, LogSink
from annals.executor.drivers.port import Exit, Sandbox
from annals.executor.errors import SandboxLost
from annals.executor.isolation.disk import MOST_ENTRIES, DiskBound, Meter, watch
from annals.executor.logs.excerpt import Excerpt
from annals.executor.logs.throttle import Rates, Throttle

PIECE_SECONDS = 0.05
PIECE_BYTES = 64 * 1024
_TAIL_CHARACTERS = 2000
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class BuildOutputStream:
    """Receives bytes on the event loop and sends text to a sink. A slow sink does not delay the build.

    The first part of a long output is sent as it arrives, the last part when the output is closed.
    """

    def __init__(self, sink: LogSink) -> None:
        self._sink = sink
        self._excerpt = Excerpt()
        self._pending: list[str] = []
        self._awake = asyncio.Event()
        self._ended = False
        self._task = asyncio.create_task(self._pump())
        self._tail = b""

    def write(self, piece: bytes) -> None:
        """Add output."""
        self._tail = (self._tail + piece)[-_TAIL_CHARACTERS:]
        self._push(self._excerpt.add(piece))

    def ends_with(self, sentence: str) -> bool:
        """Return True if the last line is this sentence, in any colour."""
        return _COLOUR.sub("", self._tail.decode(errors="replace")).rstrip().endswith(sentence)

    def line(self, text: str) -> None:
        """Add a line of the executor's own, after a line break if one is missing."""
        line_open = bool(self._tail) and not self._tail.endswith((b"\n", b"\r"))
        added = ("\n" if line_open else "") + text + "\n"
        self._tail = (self._tail + added.encode("utf-8", "replace"))[-_TAIL_CHARACTERS:]
        self._push(self._excerpt.add_text(added))

    def _push(self, text: str) -> None:
        if text:
            self._pending.append(text)
            self._awake.set()

    async def close(self) -> None:
        """Send the last part, and wait until the sink has received everything."""
        self._push(self._excerpt.end())
        self._ended = True
        self._awake.set()
        await self._task

    def abandon(self) -> None:
        """Stop sending."""
        self._task.cancel()

    async def _pump(self) -> None:
        while not (self._ended and not self._pending):
            await self._awake.wait()
            self._awake.clear()
            if not self._ended:
                await asyncio.sleep(PIECE_SECONDS)
            text, self._pending = "".join(self._pending), []
            for start in range(0, len(text), PIECE_BYTES):
                await self._sink(text[start : start + PIECE_BYTES])


log = structlog.get_logger()

LOOK_SECONDS = 0.05
REST = 4
"""The pause between measurements, as a multiple of the time that the last one took."""

BURST_SECONDS = 16.0
"""After a quiet time, a project may write the amount of so many seconds at once."""


class WriteThrottles:
    """One throttle for each project with running builds: `rate` bytes a second, 0 for no limit."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._throttles: dict[str, Throttle] = {}
        self._builds: Counter[str] = Counter()

    @contextmanager
    def of(self, project: str) -> Iterator[Throttle | None]:
        """Yield the throttle that a project's builds share, or None if writes are not limited."""
        if not self._rate:
            yield None
            return
        self._forget_rested()
        throttle = self._throttles.setdefault(project, writes(self._rate))
        self._builds[project] += 1
        try:
            yield throttle
        finally:
            self._builds[project] -= 1

    def __len__(self) -> int:
        return len(self._throttles)

    def _forget_rested(self) -> None:
        """Drop throttles that have a whole burst available: they are equal to new ones."""
        for project, throttle in tuple(self._throttles.items()):
            if not self._builds[project] and throttle.rested:
                del self._throttles[project], self._builds[project]


def writes(rate: int) -> Throttle:
    """Return a throttle for written bytes."""
    unbounded = float("inf")
    return Throttle(Rates(size=rate, items=unbounded, reads=unbounded, cpu=unbounded), BURST_SECONDS)


async def throttle_writes(sandbox: Sandbox, throttle: Throttle) -> None:
    """Pause a sandbox whenever it has written more than the throttle allows. Runs until it is cancelled."""
    before: int | None = None
    while True:
        began = time.monotonic()
        took = 0.0
        try:
            now = await asyncio.to_thread(sandbox.written)
            wait = throttle.spend(size=0 if before is None else max(0, now - before))
            before, took = now, time.monotonic() - began
            if wait:
                await _pause(sandbox, wait)
        except Exception:
            log.exception("write_throttle.failed")
        await asyncio.sleep(max(LOOK_SECONDS, REST * took))


async def _pause(sandbox: Sandbox, seconds: float) -> None:
    try:
        await sandbox.pause()
        await asyncio.sleep(seconds)
    finally:
        await sandbox.resume()


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
