"""The log of a running build: readers see it piece by piece; at the end it is kept whole, as a content."""

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
"""Waiting output over this makes its writer wait, so that a build cannot fill our memory."""

log = structlog.get_logger(__name__)


class BuildLog:
    """One attempt's log. `begin` is awaited once, before the first piece is kept."""

    def __init__(self, database: Database, stream: str, epoch: int, begin: Callable[[], Awaitable[None]]) -> None:
        self._database, self._stream, self._epoch, self._begin = database, stream, epoch, begin
        self._kept: deque[tuple[int, str]] = deque()
        self._length = 0
        self._waiting: list[str] = []
        self._seq = 0
        self._flushing: asyncio.Task[None] | None = None

    async def write(self, text: str) -> None:
        """Take output; it can be read within a moment."""
        if not text:
            return
        self._waiting.append(text.replace("\x00", "\ufffd"))  # no text of Postgres holds a NUL
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_all())
        if sum(map(len, self._waiting)) > _HASTE_CHARACTERS:
            await asyncio.shield(self._flushing)

    async def whole(self, closing: str = "") -> bytes:
        """The end of the log, as it is kept for good, with a closing line unless it already ends so."""
        if self._flushing is not None:
            await self._flushing
        text = "".join(piece for _, piece in self._kept)
        if closing and not text.rstrip().endswith(closing.strip()):
            text = f"{text.rstrip()}\n{closing.strip()}\n".lstrip("\n")
        return truncated(text, "Logs").encode()

    async def _flush_all(self) -> None:
        if not self._seq:
            await self._begin()
        while self._waiting:
            text = "".join(self._waiting)
            self._waiting.clear()
            await self._keep(text)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _keep(self, text: str) -> None:
        self._seq += 1
        self._kept.append((self._seq, text))
        self._length += len(text)
        gone = self._forget()
        piece = {"stream": self._stream, "epoch": self._epoch, "seq": self._seq, "chunk": text}
        try:
            await self._database.execute(QUERIES["keep_piece"], piece)
            if gone or self._seq == 1:
                await self._database.execute(QUERIES["drop_pieces"], {**piece, "seq": self._kept[0][0]})
        except StoreUnavailable as error:  # the whole log is still kept at the end
            log.warning("build_output_not_shown", stream=self._stream, error=str(error))

    def _forget(self) -> bool:
        """Drop leading pieces that the stored log will not hold."""
        gone = False
        while self._length - len(self._kept[0][1]) > STORED_OUTPUT_CHARACTERS:
            self._length -= len(self._kept.popleft()[1])
            gone = True
        return gone
