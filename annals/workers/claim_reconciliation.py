"""Stock-taking: what a process works on, compared with what the log says it holds.

A claim that nothing here works on is given up: its append was answered too late, or a fault of ours dropped it; the
reaper can't see it, for this process is alive. Work whose claim is gone is stopped: it was canceled, deleted or lost to
another, and the wake-up that says so may have been lost as well.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple

import structlog

from annals.domain.ports import ExecutorUnavailable
from annals.store.coordination.process_lease import ProcessLease
from annals.store.log.log import EventLog, Meta
from annals.workers.reaper import QUERIES, take_back

log = structlog.get_logger(__name__)


class ClaimedWork(NamedTuple):
    """One kind of work: the live view of what is in hand, and how it is stopped."""

    held: Collection[str]
    stop: Callable[[str], Awaitable[None]]


class ClaimReconciliation:
    """Takes stock of one process; call `take` at every lease or so."""

    def __init__(self, log: EventLog, process_lease: ProcessLease, *shelves: ClaimedWork) -> None:
        self._log, self._process_lease, self._shelves = log, process_lease, shelves
        self._doubtful: set[str] = set()

    async def take(self) -> None:
        """Act on what did not fit twice running: a read of the log and a look at what is in hand are not one moment."""
        rows = await self._log.database.rows(QUERIES["held"], {"workers": [self._process_lease.id]})
        recorded = {row["stream_id"]: row["epoch"] for row in rows}
        in_hand = {stream for shelf in self._shelves for stream in shelf.held}
        doubtful = recorded.keys() ^ in_hand
        for stream in doubtful & self._doubtful:
            if stream in recorded:
                log.warning("claim_given_up", stream=stream)
                await take_back(self._log, stream, recorded[stream], Meta(actor=f"worker:{self._process_lease.id}"))
            else:
                await self._stop(stream)
        self._doubtful = doubtful

    async def _stop(self, stream: str) -> None:
        for shelf in self._shelves:
            if stream in shelf.held:
                log.warning("work_stopped_without_its_claim", stream=stream)
                try:
                    await shelf.stop(stream)
                except ExecutorUnavailable as error:
                    log.warning("work_not_stopped", stream=stream, error=str(error))
