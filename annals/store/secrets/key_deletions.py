"""Deleted data keys leave the memory of every process at once: each listens to their deletions."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from annals.store.postgres.database import Database
from annals.store.postgres.listener import ALL, Listener
from annals.store.secrets.vault import CHANNEL

_SILENCE = 60.0


class Cache(Protocol):
    """Holds data keys, or what they opened."""

    def forget(self, project: str | None) -> None:
        """Drop what belongs to a project, or with None everything."""


@asynccontextmanager
async def following(database: Database, *caches: Cache) -> AsyncIterator[None]:
    """Let caches forget each project whose data key is deleted, and all of them after the connection broke."""
    async with Listener.open(database, CHANNEL) as listener:
        task = asyncio.create_task(_follow(listener, caches), name="key-deletions")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _follow(listener: Listener, caches: tuple[Cache, ...]) -> None:
    count = 0
    while True:
        count = await listener.wait(count, _SILENCE)
        projects = listener.fresh()
        for cache in caches:
            if ALL in projects:
                cache.forget(None)
            else:
                for project in projects:
                    cache.forget(project)
