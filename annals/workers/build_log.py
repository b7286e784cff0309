"""The log of a running build: readers see it piece by piece, and its end stores it whole as a content."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from annals.domain.invocation import STORED_OUTPUT_CHARACTERS, truncated
from annals.store.errors import StoreUnavailable
from annals.store.postgres import sql
from annals.store.postgres.database import Database

QUERIES = sql.load(__package__, "builds.sql")

_PAUSE_SECONDS = 0.15
_HASTE_CHARACTERS = 64 * 1024
"""Output that waits beyond this makes its writer wait, so that a build cannot fill the worker's memory."""

log = structlog.get_logger(__name__)


class BuildLogWriter:
    """Writes the log of one attempt. `begin` is awaited once, before the first piece is stored."""

    def __init__(self, database: Database, stream: str, epoch: int, begin: Callable[[], Awaitable[None]]) -> None:
        self._database = database
        self._stream = stream
        self._epoch = epoch
        self._begin = begin
        self._pieces: deque[tuple[int, str]] = deque()
        self._length = 0
        self._waiting: list[str] = []
        self._seq = 0
        self._flushing: asyncio.Task[None] | None = None

    async def write(self, text: str) -> None:
        """Add output, which readers see within a moment."""
        if not text:
            return
        self._waiting.append(text.replace("\x00", "\ufffd"))  # no text of Postgres holds a NUL
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_all())
        if sum(map(len, self._waiting)) > _HASTE_CHARACTERS:
            await asyncio.shield(self._flushing)

    async def whole(self, closing: str = "") -> bytes:
        """Return the end of the log as it is stored for good, with a closing line unless it already ends with that."""
        if self._flushing is not None:
            await self._flushing
        text = "".join(piece for _, piece in self._pieces)
        if closing and not text.rstrip().endswith(closing.strip()):
            text = f"{text.rstrip()}\n{closing.strip()}\n".lstrip("\n")
        return truncated(text, "Logs").encode()

    async def _flush_all(self) -> None:
        if not self._seq:
            await self._begin()
        while self._waiting:
            text = "".join(self._waiting)
            self._waiting.clear()
            await self._store(text)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _store(self, text: str) -> None:
        self._seq += 1
        self._pieces.append((self._seq, text))
        self._length += len(text)
        gone = self._forget()
        piece = {"stream": self._stream, "epoch": self._epoch, "seq": self._seq, "chunk": text}
        try:
            await self._database.execute(QUERIES["keep_piece"], piece)
            if gone or self._seq == 1:
                await self._database.execute(QUERIES["drop_pieces"], {**piece, "seq": self._pieces[0][0]})
        except StoreUnavailable as error:  # the end still stores the whole log
            log.warning("build_output_not_shown", stream=self._stream, error=str(error))

    def _forget(self) -> bool:
        """Drop leading pieces that the stored log will not hold."""
        gone = False
        while self._length - len(self._pieces[0][1]) > STORED_OUTPUT_CHARACTERS:
            self._length -= len(self._pieces.popleft()[1])
            gone = True
        return gone
