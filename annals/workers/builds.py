"""Builds: claimed, run by the executor with a log that can be followed, and their only outcome recorded.

A job message says that something waits. Which build starts is decided by what all projects build and wait for
(`annals.store.log.build_demand`), once here and once more under the lock of the append that claims it.

One file because the claim, the run with its log, and the outcome of a build depend on one another.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import structlog

from annals.application.build_preparation import BuildLimits, BuildPreparation
from annals.application.executions.context import Environments
from annals.domain.base import Key
from annals.domain.commands.deployments import (
    ActiveDeployment,
    complete_build,
    recover_build,
)
from annals.domain.deployment import Deployment
from annals.domain.errors import Conflict, DeploymentNotFound, FunctionNotFound
from annals.domain.function import Function
from annals.domain.invocation import STORED_OUTPUT_CHARACTERS, truncated
from annals.domain.ports import Build, BuildOutcome, Executor, ExecutorUnavailable, ExecutorUnreachable
from annals.store.content.blobs import BlobError
from annals.store.content.contents import ROW_LIMIT, Content, digest
from annals.store.coordination.leases import ProcessLease
from annals.store.coordination.retry import retry
from annals.store.errors import NoFreeSlot, StoreError, StoreUnavailable
from annals.store.log.build_demand import read_demand
from annals.store.log.log import EventLog, Recorded
from annals.store.log.request import BuildSlot
from annals.store.postgres import sql
from annals.store.postgres.database import Database
from annals.store.secrets.vault import Vault
from annals.workers.broker import QueueUnavailable
from annals.workers.job_messages import BUILD_DEPLOYMENT, UNKNOWN, Cause, split_stream
from annals.workers.redelivery import Queue, causes_of, wake
from annals.workers.sources import SourceFetcher, Statuses

QUERIES = sql.load(__package__, "builds.sql")

ATTEMPTS = 3
"""How often a build is claimed before one more loss means that it failed."""

READY = "The deployment is ready."
_CLAIM_RETRY_SECONDS = 5.0
_LOOKS = 8
"""How often a worker looks for the next build while other workers claim first."""

OVERTIME_SECONDS = 30.0
"""How long the executor may take beyond a build's limit to report that it ended the build."""

_LOG_PAUSE_SECONDS = 0.15
_LOG_HASTE_CHARACTERS = 64 * 1024
"""Output that waits beyond this makes its writer wait, so that a build cannot fill the worker's memory."""

log = structlog.get_logger(__name__)


class BuildAttempt(NamedTuple):
    """A build of this process under one epoch, and the cause of its outcome."""

    deployment: Deployment
    epoch: int
    cause: Cause

    @property
    def stream(self) -> str:
        return self.deployment.id


class BuildLogWriter:
    """Writes the log of one attempt. `begin` is awaited once, before the first piece is stored."""

    def __init__(self, database: Database, stream: str, epoch: int, begin: Callable[[], Awaitable[None]]) -> None:
        self._database = database
        self._stream = stream
        self._epoch = epoch
        self._begin = begin
        self._pieces: deque[tuple[int, str]] = deque()
        self._length = 0
        self._waiting: list[str] = []
        self._seq = 0
        self._flushing: asyncio.Task[None] | None = None

    async def write(self, text: str) -> None:
        """Add output, which readers see within a moment."""
        if not text:
            return
        self._waiting.append(text.replace("\x00", "\ufffd"))  # no text of Postgres holds a NUL
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_all())
        if sum(map(len, self._waiting)) > _LOG_HASTE_CHARACTERS:
            await asyncio.shield(self._flushing)

    async def whole(self, closing: str = "") -> bytes:
        """Return the end of the log as it is stored for good, with a closing line unless it already ends with that."""
        if self._flushing is not None:
            await self._flushing
        text = "".join(piece for _, piece in self._pieces)
        if closing and not text.rstrip().endswith(closing.strip()):
            text = f"{text.rstrip()}\n{closing.strip()}\n".lstrip("\n")
        return truncated(text, "Logs").encode()

    async def _flush_all(self) -> None:
        if not self._seq:
            await self._begin()
        while self._waiting:
            text = "".join(self._waiting)
            self._waiting.clear()
            await self._store(text)
            await asyncio.sleep(_LOG_PAUSE_SECONDS)

    async def _store(self, text: str) -> None:
        self._seq += 1
        self._pieces.append((self._seq, text))
        self._length += len(text)
        gone = self._forget()
        piece = {"stream": self._stream, "epoch": self._epoch, "seq": self._seq, "chunk": text}
        try:
            await self._database.execute(QUERIES["keep_piece"], piece)
            if gone or self._seq == 1:
                await self._database.execute(QUERIES["drop_pieces"], {**piece, "seq": self._pieces[0][0]})
        except StoreUnavailable as error:  # the end still stores the whole log
            log.warning("build_output_not_shown", stream=self._stream, error=str(error))

    def _forget(self) -> bool:
        """Drop leading pieces that the stored log will not hold."""
        gone = False
        while self._length - len(self._pieces[0][1]) > STORED_OUTPUT_CHARACTERS:
            self._length -= len(self._pieces.popleft()[1])
            gone = True
        return gone


class BuildActor:
    """Runs builds. `claimed` are the streams whose claims this process works on; `queue` takes job messages."""

    def __init__(
        self,
        log: EventLog,
        *,
        process_lease: ProcessLease,
        vault: Vault,
        environments: Environments,
        executor: Executor,
        sources: SourceFetcher,
        statuses: Statuses,
        limits: BuildLimits,
        queue: Queue,
    ) -> None:
        self._log = log
        self._process_lease = process_lease
        self._executor = executor
        self._limits = limits
        self._sources = sources
        self._statuses = statuses
        self._queue = queue
        self._preparation = BuildPreparation(vault, environments, limits)
        self.claimed: set[str] = set()
        self._claiming = asyncio.Lock()

    async def run(self, stream: str, cause: Cause = UNKNOWN) -> None:
        """Claim the next build and carry it out to its end; do nothing while no build may start.

        The next build is mostly that of `stream`, to which `cause` belongs.
        """
        attempt = await self._claim_next(stream, cause)
        if attempt is None:
            return
        try:
            await self._carry_out(attempt)
        except (Conflict, DeploymentNotFound, FunctionNotFound):
            log.info("build_overtaken", deployment=attempt.stream)
        finally:
            self.claimed.discard(attempt.stream)
        await self._wake_next()

    async def stop(self, stream: str, _cause: Cause = UNKNOWN) -> None:
        """Kill the build of a deployment, wherever it runs. Raises ExecutorUnavailable."""
        if await self._executor.cancel_build(*split_stream(stream)):
            log.info("build_stopped", deployment=stream)

    async def _claim_next(self, stream: str, cause: Cause) -> BuildAttempt | None:
        """Claim the next build and return it, with its stream in `claimed`; None while no build may start.

        A build that another worker claims first is followed by a further look, for there may be a slot for the next.
        """
        async with self._claiming:
            for _ in range(_LOOKS):
                startable = [tenant.waiting for tenant in (await read_demand(self._log.database)).startable()]
                following = next((waiting for waiting in startable if waiting not in self.claimed), None)
                if following is None:
                    return None
                attempt = await self._try_to_claim(following, stream, cause)
                if attempt is not None:
                    return attempt
            return None

    async def _try_to_claim(self, following: str, stream: str, cause: Cause) -> BuildAttempt | None:
        attempt = None
        self.claimed.add(following)
        try:
            if following != stream:
                cause = (await causes_of(self._log.database, [following])).get(following, UNKNOWN)
            attempt = await self._claim(following, cause)
        except (Conflict, DeploymentNotFound, NoFreeSlot):
            log.info("build_overtaken", deployment=following)
        finally:
            if attempt is None:
                self.claimed.discard(following)
        return attempt

    async def _wake_next(self) -> None:
        """Send job messages for the free slot: the first worker starts the next build. The sweep finds unsent ones."""
        try:
            startable = [tenant.waiting for tenant in (await read_demand(self._log.database)).startable()]
            await wake(self._log.database, self._queue, BUILD_DEPLOYMENT, startable)
        except (StoreError, QueueUnavailable) as error:
            log.warning("next_build_not_woken", error=str(error))

    async def _claim(self, stream: str, cause: Cause) -> BuildAttempt | None:
        holder, slot = self._process_lease.id, BuildSlot(split_stream(stream)[0])

        async def claim() -> Recorded:
            return await self._log.run(
                Deployment.claim_build, _key(stream), meta=cause.meta(self._actor), takes=slot, worker=holder
            )

        claimed = await retry(claim, seconds=_CLAIM_RETRY_SECONDS)
        (deployment,) = claimed.aggregates
        assert isinstance(deployment, Deployment)  # noqa: S101 - the key's type
        # The answer to a former append may have been lost: then it is claimed already, by this process.
        mine = deployment.status in {"processing", "building"} and deployment.worker == holder
        return BuildAttempt(deployment, deployment.epoch, cause.then(claimed.position)) if mine else None

    async def _carry_out(self, attempt: BuildAttempt) -> None:
        output = BuildLogWriter(self._log.database, attempt.stream, attempt.epoch, lambda: self._started(attempt))
        specification = ""
        try:
            outcome = await self._bring_source(attempt)
            if outcome is None:
                self._statuses.report(attempt.deployment, "pending")
                prepared = await self._preparation.prepare(attempt.deployment)
                if prepared is None:
                    return  # deleted with its function, so no outcome is recorded
                specification = prepared.specification
                if prepared.build is None:
                    outcome = prepared.impossible
                else:
                    outcome = await self._build(prepared.build, output)
        except ExecutorUnavailable as error:
            outcome = await self._executor_lost(attempt, str(error))
        except BaseException:  # cancelled, or a fault of ours: another worker starts over
            await asyncio.shield(self._hand_back(attempt))
            raise
        if outcome is not None:
            await self._record_outcome(attempt, outcome, output, specification)
            self._statuses.report(attempt.deployment, "failure" if outcome.artefact is None else "success")

    async def _bring_source(self, attempt: BuildAttempt) -> BuildOutcome | None:
        """Fetch the source from its repository; return an outcome if that fails."""
        if attempt.deployment.source is not None:
            return None
        return await self._sources.bring(attempt.deployment, attempt.cause.meta(self._actor))

    async def _build(self, job: Build, output: BuildLogWriter) -> BuildOutcome:
        async def build() -> BuildOutcome:
            async with asyncio.timeout(job.timeout_seconds + OVERTIME_SECONDS):
                return await self._executor.build(job, output.write)

        try:
            retry_seconds = self._limits.executor_retry_seconds
            return await retry(build, seconds=retry_seconds, away=ExecutorUnreachable)
        except TimeoutError:
            await self.stop(Deployment.stream(job.project, job.deployment))
            sentence = f"The build did not end within {job.timeout_seconds:g} seconds."
            return BuildOutcome(reason="timeout", message=sentence, seconds=job.timeout_seconds)

    async def _started(self, attempt: BuildAttempt) -> None:
        """Record that the build started, at its first output; kill a build that was canceled or lost meanwhile."""
        key, meta = _key(attempt.stream), attempt.cause.meta(self._actor)
        try:
            await retry(lambda: self._log.run(Deployment.start_build, key, meta=meta, epoch=attempt.epoch))
            deployment = await retry(lambda: self._log.load(key))
            claimed = deployment.epoch == attempt.epoch and deployment.status == "building"
        except (Conflict, DeploymentNotFound):
            claimed = False
        if not claimed:
            await self._try_to_stop(attempt.stream)

    async def _record_outcome(
        self, attempt: BuildAttempt, outcome: BuildOutcome, output: BuildLogWriter, specification: str
    ) -> None:
        text = await output.whole(READY if outcome.artefact is not None else outcome.message)
        recorded_events = {
            "epoch": attempt.epoch,
            "milliseconds": round(outcome.seconds * 1000),
            "specification": specification,
        }
        try:
            await self._end(attempt, outcome, recorded_events, text)
        except BlobError as error:
            lost = f"The build's log could not be kept: {error}\n{outcome.message}\n"
            await self._end(attempt, outcome, recorded_events, lost.encode()[-ROW_LIMIT:])

    async def _end(
        self, attempt: BuildAttempt, outcome: BuildOutcome, recorded_events: dict[str, Any], text: bytes
    ) -> None:
        recorded_events = {**recorded_events, "logs_digest": digest(text), "logs_size": len(text)}
        contents = [Content(attempt.stream, "build", text)]
        if outcome.artefact is not None:
            await self._succeed(attempt, {**recorded_events, "artefact": outcome.artefact}, contents)
            return
        recorded_events |= {"reason": outcome.reason or "command_failed", "message": outcome.message}
        key, meta = _key(attempt.stream), attempt.cause.meta(self._actor)
        recorded = await retry(
            lambda: self._log.run(Deployment.fail_build, key, meta=meta, contents=contents, **recorded_events)
        )
        _log_refused(attempt, recorded)

    async def _succeed(
        self, attempt: BuildAttempt, recorded_events: dict[str, Any], contents: Sequence[Content]
    ) -> None:
        deployment = attempt.deployment
        keys = Function.key(deployment.project_id, deployment.function_id), _key(attempt.stream)
        meta = attempt.cause.meta(self._actor)

        async def record() -> Recorded:
            row = await self._log.database.row(QUERIES["activates"], {"stream": attempt.stream})
            judged: dict[str, Any] = {"activate": row is not None and row["activate"]}
            if row is not None:
                judged["active"] = ActiveDeployment(row["answering"], newer=row["newer"])
            return await self._log.run(complete_build, *keys, meta=meta, contents=contents, **judged, **recorded_events)

        _log_refused(attempt, await retry(record))

    async def _executor_lost(self, attempt: BuildAttempt, why: str) -> BuildOutcome | None:
        """Queue the build again after a pause; return the outcome of a build that lost its last attempt."""
        log.warning("build_lost_its_executor", deployment=attempt.stream, epoch=attempt.epoch, why=why)
        await asyncio.sleep(self._limits.executor_pause_seconds * attempt.epoch)
        if attempt.epoch < ATTEMPTS:
            await retry(lambda: self._recover(attempt))
            return None
        sentence = f"The executor could not be reached for this build, {attempt.epoch} times: {why}"
        return BuildOutcome(reason="executor_lost", message=sentence)

    async def _hand_back(self, attempt: BuildAttempt) -> None:
        await self._try_to_stop(attempt.stream)
        try:
            await self._recover(attempt)
        except (StoreUnavailable, Conflict, DeploymentNotFound) as error:
            log.warning("build_not_handed_back", deployment=attempt.stream, error=str(error))

    async def _recover(self, attempt: BuildAttempt) -> None:
        key, meta = _key(attempt.stream), attempt.cause.meta(self._actor)
        await self._log.run(recover_build, key, meta=meta, epoch=attempt.epoch, attempts=ATTEMPTS)

    async def _try_to_stop(self, stream: str) -> None:
        try:
            await self.stop(stream)
        except ExecutorUnavailable as error:
            log.warning("build_not_stopped", deployment=stream, error=str(error))

    @property
    def _actor(self) -> str:
        return f"worker:{self._process_lease.id}"


def _log_refused(attempt: BuildAttempt, recorded: Recorded) -> None:
    """Log an outcome that recorded no event, since its claim was lost."""
    if not recorded.events:
        log.info("outcome_refused", deployment=attempt.stream, epoch=attempt.epoch)


def _key(stream: str) -> Key:
    return Deployment.key(*split_stream(stream))
