"""The keeper: one is active and runs the followers and the clocks; others stand by and take over within two seconds."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from annals.workers.ending import end
from annals.workers.leadership import Leadership

Work = Callable[[], Awaitable[object]]
"""Something that goes on until it is cancelled; called anew for each term."""

log = structlog.get_logger(__name__)


class Keeper:
    """`begin` makes the works of one term, so that what they remember does not outlive it."""

    def __init__(self, leadership: Leadership, begin: Callable[[], Sequence[Work]]) -> None:
        self._leadership, self._begin = leadership, begin
        self.active = False

    async def serve(self) -> None:
        """Lead whenever nobody else does, until cancelled."""
        while True:
            async with self._leadership.held() as lead:
                log.info("keeper_leads")
                tasks = [asyncio.ensure_future(work()) for work in self._begin()]
                self.active = True
                try:
                    await self._leadership.beat(lead)
                finally:
                    self.active = False
                    await end(*tasks)
