"""Reads that many tasks need at the same time, sent as one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
R = TypeVar("R")


class BatchedRead(Generic[K, R]):
    """Collects the keys that tasks ask for while a read is on its way, and reads them together.

    `fetch` returns the answers in the order of its keys. After a failed read of several keys, each is read alone.
    """

    def __init__(self, fetch: Callable[[Sequence[K]], Awaitable[Sequence[R]]], *, most: int = 100) -> None:
        self._fetch = fetch
        self._most = most
        self._waiting: list[tuple[K, asyncio.Future[R]]] = []
        self._fetching: asyncio.Task[None] | None = None

    async def __call__(self, key: K) -> R:
        """Return the answer to one key. Raises as `fetch` does."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, answer))
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch_all())
        return await answer

    async def _fetch_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            await self._answer([(key, answer) for key, answer in batch if not answer.done()])

    async def _answer(self, batch: list[tuple[K, asyncio.Future[R]]]) -> None:
        if not batch:
            return
        try:
            found = await self._fetch([key for key, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0][1], error)
            else:
                for pair in batch:
                    await self._answer([pair])
            return
        for (_, answer), value in zip(batch, found, strict=True):
            if not answer.done():
                answer.set_result(value)


def _fail(answer: "asyncio.Future[R]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
