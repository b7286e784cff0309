"""Ends of calls that the event store did not take: they are recorded once it is there again."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from annals.store.coordination.retry import retry

MOST_UNSETTLED = 256
"""Ends that a process keeps while the store is away; of one more, that its execution is overdue is found later."""

log = structlog.get_logger(__name__)


class Unsettled:
    """One per process: ends that the store did not take. Its lease says that it is still at work on them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """What is left is judged lost once this process's lease is over."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def later(self, execution_id: str, record: Callable[[], Awaitable[object]]) -> None:
        """Record an end as soon as the store is there; what is to do so must be safe to repeat."""
        if len(self._tasks) >= MOST_UNSETTLED:
            log.error("end_not_kept", execution=execution_id)
            return
        task = asyncio.create_task(self._record(execution_id, record))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _record(execution_id: str, record: Callable[[], Awaitable[object]]) -> None:
        try:
            await retry(record)
        except Exception:
            log.exception("end_not_recorded", execution=execution_id)
