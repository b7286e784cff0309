"""One runtime of another control plane: its specification, its output, its state, and its representation in replies.

While a runtime is created, its output gets timestamps: for log streams and for the reply.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from annals.domain.ports import Run
from annals.executor.drivers.port import Exit, Sandbox, Sink
from annals.executor.open_runtimes.parameters import RuntimeSpec


class OutputChunk(msgspec.Struct, frozen=True):
    """One piece of output; `timestamp` is UTC with milliseconds."""

    timestamp: str
    content: str


class RuntimeOutput:
    """The output of one runtime from its creation on. Timestamps never decrease."""

    def __init__(self) -> None:
        self.chunks: list[OutputChunk] = []
        self.ended = False
        self._last = 0.0
        self._changed = asyncio.Event()

    async def write(self, text: str) -> None:
        """Add a piece. This method is the log sink of builds."""
        if text:
            self._last = max(self._last, time.time())
            moment = datetime.fromtimestamp(self._last, UTC).isoformat(timespec="milliseconds")
            self.chunks.append(OutputChunk(moment, text))
            self._notify()

    def end(self) -> None:
        """Mark the output as complete."""
        self.ended = True
        self._notify()

    def text(self) -> str:
        """Return the whole output."""
        return "".join(chunk.content for chunk in self.chunks)

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def more(self, seen: int) -> None:
        """Wait until there are more than `seen` chunks, or the output is complete."""
        while len(self.chunks) <= seen and not self.ended:
            await self._changed.wait()

    async def lines(self, seconds: float) -> AsyncGenerator[bytes, None]:
        """Yield the lines of the log stream from the first one, until the output is complete or the time is over."""
        seen = 0
        try:
            async with asyncio.timeout(seconds):
                while not (self.ended and seen >= len(self.chunks)):
                    await self.more(seen)
                    new, seen = self.chunks[seen:], len(self.chunks)
                    if new:
                        yield b"".join(_line(chunk) for chunk in new)
        except TimeoutError:
            return


def _line(chunk: OutputChunk) -> bytes:
    content = chunk.content.replace("\n", "\\n")
    return f"{chunk.timestamp} {content}\n".encode("utf-8", "replace")


class CommandSandbox:
    """A sandbox that takes commands; `used` is monotonic."""

    def __init__(self, sandbox: Sandbox, folder: Path, cache: Path | None) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self.cache = cache
        self.cache_name = ""
        """The name under which its downloads are cached once it has ended; empty to cache nothing."""
        self.used = time.monotonic()
        self.busy = 0

    async def run(self, command: str, seconds: float, output: Sink) -> Exit:
        """Run a command; see `Sandbox.run`."""
        self.busy += 1
        try:
            return await self.sandbox.run(command, seconds, output)
        finally:
            self.busy -= 1
            self.used = time.monotonic()


class ManagedRuntime:
    """One runtime. Once `making` is done, it has either `run` (a function server) or `sandbox` (for commands)."""

    def __init__(self, name: str, spec: RuntimeSpec) -> None:
        self.name = name
        self.spec = spec
        self.incarnation = secrets.token_hex(16)
        self.created = self.updated = time.time()
        self.output = RuntimeOutput()
        self.run: Run | None = None
        self.sandbox: CommandSandbox | None = None
        self.making: asyncio.Task[dict[str, Any]] | None = None
        self.took = 0.0
        self.deleted = False

    @property
    def ready(self) -> bool:
        return self.making is not None and self.making.done()

    def touch(self) -> None:
        self.updated = time.time()

    def seen(self, host: str, key: str) -> dict[str, Any]:
        """Return the runtime for replies; `key` is its function server's secret, empty while none is up."""
        return {
            "version": self.spec.version,
            "created": self.created,
            "updated": self.updated,
            "name": f"{host}-{self.name}",
            "hostname": self.incarnation,
            "status": f"Up {self.took:.2f}s" if self.ready else "pending",
            "key": key,
            "listening": int(bool(key)),
            "image": self.spec.image,
            "initialised": int(self.ready),
        }
