"""The output of a build on its way to the log: as text, limited in size, in pieces, always with its last lines."""

import asyncio
import re

from annals.domain.ports import LogSink
from annals.executor.logs.excerpt import Excerpt

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
