"""The reaper: takes back the claims of lost processes. An execution ends with that reason, a build is queued again."""

import asyncio
import time
from collections.abc import Callable, Iterable

import structlog

from annals.domain.commands.deployments import recover_build
from annals.domain.commands.executions import lose_execution
from annals.domain.deployment import Deployment
from annals.domain.errors import Conflict, DeploymentNotFound, ExecutionNotFound
from annals.domain.execution import Execution
from annals.store.coordination.leases import Leases, Watch
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
