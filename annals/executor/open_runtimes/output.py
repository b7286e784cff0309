"""What builds print, with the time of each piece, for those who read along and for the reply."""

import asyncio
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import msgspec


class Chunk(msgspec.Struct, frozen=True):
    """One piece of output; `timestamp` is UTC with milliseconds."""

    timestamp: str
    content: str


class Record:
    """The output of one runtime from its creation on; never goes back in time."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.ended = False
        self._last = 0.0
        self._changed = asyncio.Event()

    async def write(self, text: str) -> None:
        """Take a piece; a sink for builds."""
        if text:
            self._last = max(self._last, time.time())
            moment = datetime.fromtimestamp(self._last, UTC).isoformat(timespec="milliseconds")
            self.chunks.append(Chunk(moment, text))
            self._tell()

    def end(self) -> None:
        """Nothing more will come."""
        self.ended = True
        self._tell()

    def text(self) -> str:
        """All of it."""
        return "".join(chunk.content for chunk in self.chunks)

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def more(self, seen: int) -> None:
        """Wait until there is more than so many chunks, or no more to come."""
        while len(self.chunks) <= seen and not self.ended:
            await self._changed.wait()

    async def lines(self, seconds: float) -> AsyncGenerator[bytes, None]:
        """The log stream's lines from the first on, as they come, until the end or for so long."""
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


def _line(chunk: Chunk) -> bytes:
    content = chunk.content.replace("\n", "\\n")
    return f"{chunk.timestamp} {content}\n".encode("utf-8", "replace")
