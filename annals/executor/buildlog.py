"""A build's output on its way out: text, bounded, in pieces, its last line always there."""

import asyncio
import codecs
import re

from annals.domain.ports import LogSink

KEPT = 1_000_000
PIECE_SECONDS = 0.05
PIECE_BYTES = 64 * 1024
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class BuildLog:
    """Takes bytes on the event loop and hands text to a sink that may be slow, without holding up the build."""

    def __init__(self, sink: LogSink) -> None:
        self._sink = sink
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending: list[str] = []
        self._kept = 0
        self._awake = asyncio.Event()
        self._line_open = False
        self._ended = False
        self._task = asyncio.create_task(self._pump())
        self.tail = ""

    def write(self, piece: bytes) -> None:
        """Take output as it comes; beyond the bound it is dropped."""
        room = KEPT - self._kept
        if room > 0:
            self._kept += len(piece)
            self._push(self._decoder.decode(piece[:room]))

    def ends_with(self, sentence: str) -> bool:
        """Whether it is what was said last, in whatever colour."""
        return _COLOUR.sub("", self.tail).rstrip().endswith(sentence)

    def line(self, text: str) -> None:
        """Add a line of the executor's own, which no bound holds back."""
        self._push(("\n" if self._line_open else "") + text + "\n")

    def _push(self, text: str) -> None:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        if text:
            self._pending.append(text)
            self._line_open = not text.endswith("\n")
            self.tail = (self.tail + text)[-2000:]
            self._awake.set()

    async def close(self) -> None:
        """Wait until everything has reached the sink."""
        self._ended = True
        self._awake.set()
        await self._task

    def abandon(self) -> None:
        """Send nothing any more."""
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
