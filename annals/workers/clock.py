"""Duties that run at an interval, each by itself; a failed one runs again at its next turn."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from annals.store.coordination.pauses import Pauses
from annals.store.errors import StoreUnavailable
from annals.workers.broker import QueueUnavailable

log = structlog.get_logger(__name__)


class Duty(NamedTuple):
    """A call of `run` every `seconds`, the first after `delay`, and never two at once."""

    name: str
    seconds: float
    run: Callable[[], Awaitable[object]]
    delay: float = 0.0


async def keep(duty: Duty) -> None:
    """Run a duty until cancelled."""
    await asyncio.sleep(duty.delay)
    while True:
        try:
            await duty.run()
        except (StoreUnavailable, QueueUnavailable) as error:
            log.warning("duty_postponed", duty=duty.name, error=str(error))
        except Exception:
            log.exception("duty_failed", duty=duty.name)
        await asyncio.sleep(duty.seconds)


def unless_held(holds: Pauses, name: str, run: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
    """Return a call of `run` that does nothing while a pause of this name is in place."""

    async def turn() -> None:
        if await holds.find(name) is None:
            await run()

    return turn
