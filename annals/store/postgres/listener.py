"""A connection that listens to notifications and wakes the tasks that wait for them."""

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
"""The name of a notification without a payload; it counts for every name."""

MOST_NAMES = 10_000
"""The number of names that are counted apart. Beyond it all names count as notified, and counting starts again."""

_SILENCE_SECONDS = 30.0
_RETRY_SECONDS = 0.25

log = structlog.get_logger(__name__)


class OnDemand:
    """A listener that is open while at least one task uses it."""

    def __init__(self, database: Database, channel: str = APPENDS) -> None:
        self._database, self._channel = database, channel
        self._stack = contextlib.AsyncExitStack()
        self._inside = 0
        self._listener: Listener | None = None

    @asynccontextmanager
    async def entered(self) -> AsyncIterator["Listener"]:
        """Yield the listener, opened for the first user and closed after the last one."""
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
    """Counts notifications. A waiter passes the count that it knows, so it misses none in between.

    A notification's payload is its name. While the connection is broken, waiters poll by their timeout. A new
    connection adds one to `sessions`, wakes all waiters and counts for every name.
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

    async def wait(self, known: int, timeout: float) -> int:  # noqa: ASYNC109 - a timeout is no error here
        """Return the count as soon as it differs from `known`, or after `timeout` seconds."""
        if self.count == known:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._heard.wait()
        return self.count

    def heard_of(self, name: str) -> int:
        """Return the number of notifications that count for a name."""
        return self._counts[name] + self._counts[ALL]

    async def wait_for(self, name: str, known: int, timeout: float) -> None:  # noqa: ASYNC109 - as `wait`
        """Return as soon as the count of a name differs from `known`, or after `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.heard_of(name) == known:
                    await self._heard.wait()

    def fresh(self) -> set[str]:
        """Return the names that were notified since the last call."""
        fresh, self._fresh = self._fresh, set()
        return fresh

    async def _listen(self) -> None:
        while True:
            try:
                async with await self._database.connect("listen") as conn:
                    await conn.execute(f"LISTEN {self._channel}")
                    self.sessions += 1
                    self._count(ALL)
                    while True:
                        async for notification in conn.notifies(timeout=_SILENCE_SECONDS):
                            self._count(notification.payload)
                        await conn.execute("SELECT 1")  # fails if the server vanished silently
            except (psycopg.Error, OSError) as error:
                log.warning("listener_connection_lost", error=str(error).strip())
                await asyncio.sleep(_RETRY_SECONDS)

    def _count(self, name: str) -> None:
        self.count += 1
        if name not in self._counts and len(self._counts) >= MOST_NAMES:
            self._counts.clear()
            self._counts[ALL] = self.count  # more than the count of any name before
            self._fresh = {ALL}
        self._counts[name] += 1
        self._fresh.add(name)
        heard, self._heard = self._heard, asyncio.Event()
        heard.set()
