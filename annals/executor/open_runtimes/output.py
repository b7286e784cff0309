"""The output of runtimes while they are created, with timestamps: for log streams and for the reply."""

import asyncio
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import msgspec


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
