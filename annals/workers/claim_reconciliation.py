"""Claim reconciliation: compare the work of a process with its claims in the log.

A claim without work is given up: the answer to its append came too late, or a fault of ours dropped the work. The
reaper cannot see that, since this process is alive. Work without a claim is stopped: it was canceled, deleted or lost
to another process, and the job message about that may have been lost as well.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple

import structlog

from annals.domain.ports import ExecutorUnavailable
from annals.store.coordination.leases import ProcessLease
from annals.store.log.log import EventLog, Meta
from annals.workers.reaper import QUERIES, take_back

log = structlog.get_logger(__name__)


class ClaimedWork(NamedTuple):
    """One kind of work: a live view of the streams in hand, and the call that stops one."""

    streams: Collection[str]
    stop: Callable[[str], Awaitable[None]]


class ClaimReconciliation:
    """Reconciles one process; call `run` about once a lease."""

    def __init__(self, log: EventLog, process_lease: ProcessLease, *kinds: ClaimedWork) -> None:
        self._log = log
        self._process_lease = process_lease
        self._kinds = kinds
        self._doubtful: set[str] = set()

    async def run(self) -> None:
        """Act on a stream that differs twice in a row, since the log and the work are not read at the same moment."""
        rows = await self._log.database.rows(QUERIES["held"], {"workers": [self._process_lease.id]})
        recorded = {row["stream_id"]: row["epoch"] for row in rows}
        in_hand = {stream for work in self._kinds for stream in work.streams}
        doubtful = recorded.keys() ^ in_hand
        for stream in doubtful & self._doubtful:
            if stream in recorded:
                log.warning("claim_given_up", stream=stream)
                await take_back(self._log, stream, recorded[stream], Meta(actor=f"worker:{self._process_lease.id}"))
            else:
                await self._stop(stream)
        self._doubtful = doubtful

    async def _stop(self, stream: str) -> None:
        for work in self._kinds:
            if stream in work.streams:
                log.warning("work_stopped_without_its_claim", stream=stream)
                try:
                    await work.stop(stream)
                except ExecutorUnavailable as error:
                    log.warning("work_not_stopped", stream=stream, error=str(error))
