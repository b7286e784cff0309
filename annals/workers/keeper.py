"""The keeper: one is active and runs the followers and clocks; others stand by and take over within two seconds."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from annals.store.postgres.database import Connection
from annals.workers.leadership import Leadership

Work = Callable[[], Awaitable[object]]
"""Work that goes on until it is cancelled; called again for each term."""

_CANCEL_AGAIN_SECONDS = 1.0

log = structlog.get_logger(__name__)


LAST_SECONDS = 5.0
"""How long a term goes on after one of its works failed, so that a work which always fails stops no other."""


class Keeper:
    """Leads at times; `begin` makes the works of one term, so that their memory does not outlive the term."""

    def __init__(self, leadership: Leadership, begin: Callable[[], Sequence[Work]]) -> None:
        self._leadership = leadership
        self._begin = begin
        self.active = False

    async def serve(self) -> None:
        """Lead whenever no other keeper does, until cancelled; after a failed term another begins."""
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
    """Return True if a work failed before the lead was lost; a return, as of a follower at a poison event, is none."""
    going: set[asyncio.Future[Any]] = {beating, *works}
    while beating in going:
        ended, going = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
        broken = [work for work in ended if work.cancelled() or work.exception() is not None]
        for work in broken:
            log.error("keeper_work_broke", exc_info=None if work.cancelled() else work.exception())
        if broken:
            return True
    return False


async def end(*tasks: "asyncio.Task[object]") -> None:
    """Cancel tasks until all have ended; a connection that breaks at that moment may hide the first cancellation."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
