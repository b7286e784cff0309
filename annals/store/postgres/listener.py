"""One connection of a process that hears of commits and wakes whoever follows the log."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import structlog

from annals.store.postgres.database import Database

APPENDS = "annals_events"
"""The channel that each append notifies at its commit."""

ALL = ""
"""Said of what has no name, or of anything there is."""

MOST_NAMES = 10_000
"""So many names are counted apart; then all of them count as told of, and counting begins anew."""

_SILENCE_SECONDS = 30.0
_RETRY_SECONDS = 0.25

log = structlog.get_logger(__name__)


class OnDemand:
    """One listener for all of a process that want to hear of commits: there while somebody does."""

    def __init__(self, database: Database, channel: str = APPENDS) -> None:
        self._database, self._channel = database, channel
        self._stack = contextlib.AsyncExitStack()
        self._inside = 0
        self._listener: Listener | None = None

    @asynccontextmanager
    async def entered(self) -> AsyncIterator["Listener"]:
        """The listener, opened for the first and closed behind the last that uses it."""
        if self._listener is None:
            self._stack = contextlib.AsyncExitStack()
            self._listener = await self._stack.enter_async_context(Listener.open(self._database, self._channel))
        self._inside += 1
        try:
            yield self._listener
        finally:
            self._inside -= 1
            if not self._inside:
                self._listener = None
                await self._stack.aclose()


class Listener:
    """Counts what it heard; a waiter says what count it knows, so that nothing heard in between is missed.

    What is told may have a name. While the connection is broken nothing is heard: waiters poll by their timeout, and a
    new connection, one more of its `sessions`, wakes all and counts for every name.
    """

    def __init__(self, database: Database, channel: str = APPENDS) -> None:
        self._database, self._channel = database, channel
        self._heard = asyncio.Event()
        self._counts: Counter[str] = Counter()
        self._fresh: set[str] = set()
        self.count = 0
        self.sessions = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, database: Database, channel: str = APPENDS) -> AsyncIterator["Listener"]:
        """Listen in the background until leaving."""
        listener = cls(database, channel)
        task = asyncio.create_task(listener._listen(), name="log-listener")
        try:
            yield listener
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def wait(self, known: int, timeout: float) -> int:  # noqa: ASYNC109 - a wait that ends is no error
        """Return the count as soon as it differs from `known`, or after `timeout` seconds."""
        if self.count == known:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._heard.wait()
        return self.count

    def heard_of(self, name: str) -> int:
        """How often it was told of."""
        return self._counts[name] + self._counts[ALL]

    async def wait_for(self, name: str, known: int, timeout: float) -> None:  # noqa: ASYNC109 - as `wait`
        """Return as soon as what was heard of a name differs from `known`, or after `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.heard_of(name) == known:
                    await self._heard.wait()

    def fresh(self) -> set[str]:
        """What was told of since this was asked last."""
        fresh, self._fresh = self._fresh, set()
        return fresh

    async def _listen(self) -> None:
        while True:
            try:
                async with await self._database.connect("listen") as conn:
                    await conn.execute(f"LISTEN {self._channel}")
                    self.sessions += 1
                    self._ring(ALL)
                    while True:
                        async for told in conn.notifies(timeout=_SILENCE_SECONDS):
                            self._ring(told.payload)
                        await conn.execute("SELECT 1")  # a peer that vanished without a word shows here
            except (psycopg.Error, OSError) as error:
                log.warning("listener_connection_lost", error=str(error).strip())
                await asyncio.sleep(_RETRY_SECONDS)

    def _ring(self, name: str) -> None:
        self.count += 1
        if name not in self._counts and len(self._counts) >= MOST_NAMES:
            self._counts.clear()
            self._counts[ALL] = self.count  # more than was heard of any name before
            self._fresh = {ALL}
        self._counts[name] += 1
        self._fresh.add(name)
        heard, self._heard = self._heard, asyncio.Event()
        heard.set()
