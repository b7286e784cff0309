"""Trying again while Postgres or the executor is away: what a process has in hand is worth waiting for."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from annals.store.errors import StoreUnavailable

T = TypeVar("T")

EXECUTOR_SECONDS = 30.0
"""How long claimed work waits for an executor, or the engine behind it, that cannot be reached: a slow restart's time,
and with the lease as long as anything may stay open for such a reason."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0

log = structlog.get_logger(__name__)


async def retry(
    attempt: Callable[[], Awaitable[T]], *, seconds: float = math.inf, away: type[Exception] = StoreUnavailable
) -> T:
    """Repeat what raises `away`, with growing pauses, for so long; the attempt must be safe to repeat.

    Raises `away` once the time is over, and at once whatever else the attempt raises.
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
