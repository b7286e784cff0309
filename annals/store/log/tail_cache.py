"""The tail cache: the log's newest events, read and decoded once for all followers of a process."""

import asyncio
from bisect import bisect_right

from annals.store.log.reader import QUERIES, BatchEntry, EventBatch, EventReader
from annals.store.postgres.listener import Listener

PAGE = 500
EVENTS = 4 * PAGE
STATE_BYTES = 8 * 1024 * 1024
"""The limits of the cache. Followers further behind read the log's table."""


class TailCache:
    """Caches committed rows: they never change, and no row appears between two of them.

    A lost connection of the listener empties the cache: Postgres may have lost its last commits, too.
    """

    def __init__(self, reader: EventReader, listener: Listener) -> None:
        self._reader, self._listener = reader, listener
        self._reading = asyncio.Lock()
        self._entries: list[BatchEntry] = []
        self._positions: list[int] = []
        self._bytes = 0
        self._begin = self._end = 0  # all events after `_begin`, up to `_end`, are cached
        self._heard = -1  # the listener's count when no event followed `_end`
        self._session = listener.sessions

    async def after(self, position: int, limit: int, heard: int) -> EventBatch | None:
        """Return at most `limit` events after a position, with all that were committed at the listener's count `heard`.

        Returns None for a position before the cached events. Raises StoreUnavailable.
        """
        async with self._reading:
            if self._session != self._listener.sessions or position > self._end:
                self._begin_at(position)
            while position >= self._begin:  # reading may have evicted the position
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
        """Evict half of the events, so that this does not happen at each reading."""
        evicted = 0
        while len(self._entries) - evicted > EVENTS // 2 or self._bytes > STATE_BYTES // 2:
            self._bytes -= len(self._entries[evicted].row["state"])
            evicted += 1
        self._begin = self._positions[evicted - 1]
        del self._entries[:evicted], self._positions[:evicted]
