"""The newest stretch of the log, read and decoded once for all followers of a process that are at it."""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence

from annals.store.database import Row
from annals.store.facts import QUERIES, Fact, Facts
from annals.store.listener import Listener

PAGE = 500
EVENTS = 4 * PAGE
STATE_BYTES = 8 * 1024 * 1024
"""The window holds no more: who is further behind reads for itself."""


class Window:
    """Rows that were seen committed never change, and none appears between two of them: so they may be kept.

    What was read before the listener's connection was lost is forgotten: Postgres may have lost its last commits, too.
    """

    def __init__(self, facts: Facts, listener: Listener) -> None:
        self._facts, self._listener = facts, listener
        self._reading = asyncio.Lock()
        self._rows: list[Row] = []
        self._positions: list[int] = []
        self._decoded: dict[int, Fact] = {}
        self._bytes = 0
        self._begin = self._end = 0  # it holds all that lies after `_begin`, up to `_end`
        self._heard = -1  # the listener's count when nothing lay behind `_end`
        self._session = listener.sessions

    async def after(self, position: int, limit: int, heard: int) -> Sequence[Row] | None:
        """The next rows after a position, at most `limit`, of all that was committed when `heard` was counted.

        None for a position that lies before the window. Raises StoreUnavailable.
        """
        async with self._reading:
            if self._session != self._listener.sessions or position > self._end:
                self._begin_at(position)
            while position >= self._begin:  # rows that were read may have pushed it out
                start = bisect_right(self._positions, position)
                if len(self._rows) - start >= limit or self._heard >= heard:
                    return self._rows[start : start + limit]
                await self._read()
            return None

    def facts(self, rows: Sequence[Row]) -> list[Fact]:
        """Rows of the window, decoded. Raises UnknownTopic and UnreadableEvent."""
        found = []
        for row in rows:
            fact = self._decoded.get(row["notification_id"])
            if fact is None:
                fact = self._facts.fact(row)
                if fact.position > self._begin:
                    self._decoded[fact.position] = fact
            found.append(fact)
        return found

    def _begin_at(self, position: int) -> None:
        self._rows.clear()
        self._positions.clear()
        self._decoded.clear()
        self._begin = self._end = position
        self._bytes, self._heard, self._session = 0, -1, self._listener.sessions

    async def _read(self) -> None:
        heard = self._listener.count
        params = {"position": self._end, "limit": PAGE, "until": None}
        rows = await self._facts.database.rows(QUERIES["after"], params)
        if rows:
            self._rows += rows
            self._positions += [row["notification_id"] for row in rows]
            self._bytes += sum(len(row["state"]) for row in rows)
            self._end = self._positions[-1]
        if len(rows) < PAGE:
            self._heard = heard
        if len(self._rows) > EVENTS or self._bytes > STATE_BYTES:
            self._shrink()

    def _shrink(self) -> None:
        """By more than is needed, so that it is not asked for at each reading."""
        gone = 0
        while len(self._rows) - gone > EVENTS // 2 or self._bytes > STATE_BYTES // 2:
            self._bytes -= len(self._rows[gone]["state"])
            self._decoded.pop(self._positions[gone], None)
            gone += 1
        self._begin = self._positions[gone - 1]
        del self._rows[:gone], self._positions[:gone]
