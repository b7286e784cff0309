"""The keeper: one is active and runs the followers and the clocks; others stand by and take over within two seconds."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from annals.store.postgres.database import Connection
from annals.workers.ending import end
from annals.workers.leadership import Leadership

Work = Callable[[], Awaitable[object]]
"""Something that goes on until it is cancelled; called anew for each term."""

log = structlog.get_logger(__name__)


LAST_SECONDS = 5.0
"""How long a term whose work has broken goes on for the others: one that breaks each time stops none of them."""


class Keeper:
    """`begin` makes the works of one term, so that what they remember does not outlive it."""

    def __init__(self, leadership: Leadership, begin: Callable[[], Sequence[Work]]) -> None:
        self._leadership, self._begin = leadership, begin
        self.active = False

    async def serve(self) -> None:
        """Lead whenever nobody else does, until cancelled; a term that breaks ends, and another begins."""
        while True:
            try:
                async with self._leadership.held() as lead:
                    log.info("keeper_leads")
                    await self._lead(lead)
            except Exception:
                log.exception("keeper_term_failed")
                await asyncio.sleep(LAST_SECONDS)

    async def _lead(self, lead: Connection) -> None:
        works = [asyncio.ensure_future(work()) for work in self._begin()]
        beating = asyncio.ensure_future(self._leadership.beat(lead))
        self.active = True
        try:
            if await _broken(beating, works):
                await asyncio.wait([beating], timeout=LAST_SECONDS)
        finally:
            self.active = False
            await end(beating, *works)


async def _broken(beating: asyncio.Future[None], works: Sequence[asyncio.Future[object]]) -> bool:
    """Whether a work broke before the lead was lost; one that returned, as a follower before poison, has not."""
    going: set[asyncio.Future[Any]] = {beating, *works}
    while beating in going:
        ended, going = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
        broken = [work for work in ended if work.cancelled() or work.exception() is not None]
        for work in broken:
            log.error("keeper_work_broke", exc_info=None if work.cancelled() else work.exception())
        if broken:
            return True
    return False
