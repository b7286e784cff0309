"""The newest stretch of the log, read and decoded once for all followers of a process that are at it."""

import asyncio
from bisect import bisect_right

from annals.store.log.reader import QUERIES, BatchEntry, EventBatch, EventReader
from annals.store.postgres.listener import Listener

PAGE = 500
EVENTS = 4 * PAGE
STATE_BYTES = 8 * 1024 * 1024
"""The window holds no more: who is further behind reads for itself."""


class TailCache:
    """Rows that were seen committed never change, and none appears between two of them: so they may be kept.

    What was read before the listener's connection was lost is forgotten: Postgres may have lost its last commits, too.
    """

    def __init__(self, reader: EventReader, listener: Listener) -> None:
        self._reader, self._listener = reader, listener
        self._reading = asyncio.Lock()
        self._entries: list[BatchEntry] = []
        self._positions: list[int] = []
        self._bytes = 0
        self._begin = self._end = 0  # it holds all that lies after `_begin`, up to `_end`
        self._heard = -1  # the listener's count when nothing lay behind `_end`
        self._session = listener.sessions

    async def after(self, position: int, limit: int, heard: int) -> EventBatch | None:
        """The next entries after a position, at most `limit`, of all that was committed when `heard` was counted.

        None for a position that lies before the window. Raises StoreUnavailable.
        """
        async with self._reading:
            if self._session != self._listener.sessions or position > self._end:
                self._begin_at(position)
            while position >= self._begin:  # rows that were read may have pushed it out
                start = bisect_right(self._positions, position)
                if len(self._entries) - start >= limit or self._heard >= heard:
                    return EventBatch(self._entries[start : start + limit])
                await self._read()
            return None

    def _begin_at(self, position: int) -> None:
        self._entries.clear()
        self._positions.clear()
        self._begin = self._end = position
        self._bytes, self._heard, self._session = 0, -1, self._listener.sessions

    async def _read(self) -> None:
        heard = self._listener.count
        params = {"position": self._end, "limit": PAGE, "until": None}
        (rows,) = await self._reader.database.run_pipeline([(QUERIES["after"], params)])
        if rows:
            self._entries += [BatchEntry(row, self._reader.recorded_event) for row in rows]
            self._positions += [row["notification_id"] for row in rows]
            self._bytes += sum(len(row["state"]) for row in rows)
            self._end = self._positions[-1]
        if len(rows) < PAGE:
            self._heard = heard
        if len(self._entries) > EVENTS or self._bytes > STATE_BYTES:
            self._shrink()

    def _shrink(self) -> None:
        """By more than is needed, so that it is not asked for at each reading."""
        gone = 0
        while len(self._entries) - gone > EVENTS // 2 or self._bytes > STATE_BYTES // 2:
            self._bytes -= len(self._entries[gone].row["state"])
            gone += 1
        self._begin = self._positions[gone - 1]
        del self._entries[:gone], self._positions[:gone]
