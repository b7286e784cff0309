"""Retries while Postgres or the executor is away, for work that a process has claimed."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from annals.store.errors import StoreUnavailable

T = TypeVar("T")

EXECUTOR_SECONDS = 30.0
"""How long claimed work waits for an executor or its engine: the time of a slow restart. Together with the lease it
bounds how long an execution stays open for that reason."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0

log = structlog.get_logger(__name__)


async def retry(
    attempt: Callable[[], Awaitable[T]], *, seconds: float = math.inf, away: type[Exception] = StoreUnavailable
) -> T:
    """Return what `attempt` returns; repeat it with growing pauses while it raises `away`. It must be safe to repeat.

    Raises `away` after `seconds`, and every other error of the attempt at once.
    """
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + seconds, _FIRST_PAUSE
    while True:
        try:
            return await attempt()
        except away as error:
            if loop.time() + pause > deadline:
                raise
            log.warning("waits_and_tries_again", error=str(error))
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
