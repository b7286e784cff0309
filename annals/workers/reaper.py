"""The reaper: takes back the claims of lost processes. An execution ends with that reason, a build is queued again.

The reaper runs in the keeper and sees lost processes only. Each worker reconciles its own claims with its work. It
gives up a claim without work: the answer to its append came too late, or a fault of ours dropped the work. It stops
work without a claim: the work was canceled, deleted or lost to another process, and the job message about that may
have been lost as well.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import NamedTuple

import structlog

from annals.domain.commands.deployments import recover_build
from annals.domain.commands.executions import lose_execution
from annals.domain.deployment import Deployment
from annals.domain.errors import Conflict, DeploymentNotFound, ExecutionNotFound
from annals.domain.execution import Execution
from annals.domain.ports import ExecutorUnavailable
from annals.store.coordination.leases import Leases, ProcessLease, Watch
from annals.store.log.log import EventLog, Meta
from annals.store.postgres import sql
from annals.workers.builds import ATTEMPTS
from annals.workers.job_messages import split_stream

QUERIES = sql.load(__package__, "reaper.sql")

_AT_ONCE = 64
_MOMENT_SECONDS = 10.0

log = structlog.get_logger(__name__)


async def take_back(log_: EventLog, stream: str, epoch: int, meta: Meta) -> None:
    """End an execution that is claimed under `epoch`, or queue such a build again; a later epoch is left alone."""
    project_id, own_id = split_stream(stream)
    try:
        if stream.startswith(f"{Execution.TOPIC}:"):
            key = Execution.key(project_id, own_id)
            await log_.run(lose_execution, key, meta=meta, epoch=epoch, now=await log_.database.now())
        else:
            key = Deployment.key(project_id, own_id)
            await log_.run(recover_build, key, meta=meta, epoch=epoch, attempts=ATTEMPTS)
    except (Conflict, ExecutionNotFound, DeploymentNotFound):
        return


class Reaper:
    """Watches the heartbeats during one term of a keeper."""

    def __init__(self, log: EventLog, *, lease_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._leases = log, Leases(log.database)
        self._watch = Watch(lease_seconds, clock=clock)

    async def sweep(self) -> int:
        """Look once, and return how many claims were taken back; call it several times per lease."""
        holding = await self._log.database.rows(QUERIES["holding"])
        beats = {holder.holder: holder.beats for holder in await self._leases.holders()}
        lost = self._watch.lost(beats, beats.keys() | {row["worker"] for row in holding})
        if not lost:
            return 0
        taken = await self._take_back_from(lost)
        await self._leases.forget({holder: beats[holder] for holder in lost & beats.keys()})
        return taken

    async def _take_back_from(self, holders: Iterable[str]) -> int:
        held = await self._log.database.rows(QUERIES["held"], {"workers": list(holders)})
        for first in range(0, len(held), _AT_ONCE):
            await asyncio.gather(
                *(
                    take_back(self._log, row["stream_id"], row["epoch"], Meta(actor=f"reaper:{row['worker']}"))
                    for row in held[first : first + _AT_ONCE]
                )
            )
        log.warning("holders_lost", holders=sorted(holders), taken_back=len(held))
        return len(held)


class Overdue:
    """Ends executions that a living process dropped, as synchronous calls that ended while Postgres was away."""

    def __init__(self, log: EventLog, *, slack_seconds: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`slack_seconds`: the time beyond a function's timeout for starts, waits and recording the outcome."""
        self._log = log
        self._slack = slack_seconds
        self._clock = clock
        self._seen: dict[tuple[str, int], float] = {}

    async def sweep(self) -> int:
        """Look once, and return how many were ended: those also seen a moment ago, since an outage may end."""
        rows = await self._log.database.rows(QUERIES["overdue"], {"seconds": self._slack})
        now = self._clock()
        self._seen = {key: self._seen.get(key, now) for row in rows if (key := (row["stream_id"], row["epoch"]))}
        late = [key for key, since in self._seen.items() if now - since >= _MOMENT_SECONDS]
        for stream, epoch in late:
            log.warning("execution_overdue", execution=stream, epoch=epoch)
            await take_back(self._log, stream, epoch, Meta(actor="reaper"))
        return len(late)


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
