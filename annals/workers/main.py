"""The two processes of this room, from their start to their end."""

import asyncio
import functools
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import structlog

from annals.capacity.limiter import WorkerLimiter
from annals.capacity.shared_memory import Backpressure
from annals.capacity.slots import FreedSlots
from annals.domain.ports import Executor
from annals.projections.following import FOLLOWING
from annals.settings import Settings
from annals.store.coordination.direct_dispatch import DirectDispatch, DispatchSocket
from annals.store.coordination.idempotency import Idempotency
from annals.store.coordination.leases import BuildSlots
from annals.store.coordination.pauses import SCHEDULES, Holds
from annals.store.coordination.retry import EXECUTOR_SECONDS
from annals.store.log.append_modes import FREED_SLOTS
from annals.store.log.follower import ExternalHandler, Follower
from annals.store.log.tail_cache import TailCache
from annals.store.postgres.listener import Listener
from annals.vcs.client import Repositories
from annals.vcs.jobs import FetchBounds
from annals.vcs.locating import Locator
from annals.workers.blob_garbage import BlobGarbage
from annals.workers.broker import JobMessageBroker, QueueUnavailable
from annals.workers.builds import Builds
from annals.workers.claim_reconciliation import ClaimedWork, ClaimReconciliation
from annals.workers.cleanup import Cleanup
from annals.workers.clock import Duty, keep
from annals.workers.dispatcher import Dispatcher
from annals.workers.ending import end
from annals.workers.executions import Executions
from annals.workers.job_messages import (
    BUILD_DEPLOYMENT,
    BUILDS,
    CLEANUP,
    EXECUTIONS,
    RETIRE_DEPLOYMENT,
    RETIRE_FUNCTION,
    RUN_EXECUTION,
    STOP_BUILD,
    STOP_EXECUTION,
    WARM_FUNCTION,
    JobMessage,
)
from annals.workers.jobs import BuildLimits
from annals.workers.keeper import Keeper, Work
from annals.workers.leadership import Leadership
from annals.workers.pausable import unless_held
from annals.workers.prewarming import LOOK_SECONDS, Prewarming, Warming
from annals.workers.reaper import Overdue, Reaper
from annals.workers.redelivery import Redelivery, wake
from annals.workers.relay import sender
from annals.workers.relay import wants as relay_wants
from annals.workers.retention import Retention
from annals.workers.schedules import Schedules
from annals.workers.sealing import Sealing
from annals.workers.sources import Sources
from annals.workers.statuses import Statuses
from annals.workers.triggers import Triggers
from annals.workers.wiring import Process, opened

GRACE_SECONDS = 4.0
"""How long work in hand may take to end once its process was asked to; then it is handed back."""

OVERDUE_SECONDS = 90
"""How long an execution may be `processing` beyond its start budget and its function's timeout."""

Tell = Callable[[str], None]
"""Told what the process does, first when it is ready, then every second."""

log = structlog.get_logger(__name__)


async def serve_worker(settings: Settings, executor: Executor, *, asked: asyncio.Event, tell: Tell) -> None:
    """Work until `asked` to end: then nothing more is claimed, and what does not end in time is handed back."""
    most = settings.worker_executions
    slots = BuildSlots(settings.worker_builds, settings.worker_builds_reserve)
    backpressure = Backpressure.open(settings.executor_urls)
    limiters = {
        EXECUTIONS: WorkerLimiter(most, settings.share_of(most), backpressure=lambda: backpressure.active),
        BUILDS: WorkerLimiter(sum(slots)),
        CLEANUP: WorkerLimiter(8),
    }

    def doing() -> str:
        return ", ".join(f"{limiter.busy} {queue}" for queue, limiter in limiters.items() if limiter.busy) or "idle"

    async with opened(settings, "worker", doing, slots) as process:
        broker = JobMessageBroker(settings.redis_url, limiters)
        executions = _executions(settings, process, executor)
        builds = _builds(settings, process, executor, broker)
        cleanup = Cleanup(process.log, executor, _retention(settings, process), _blob_garbage(settings, process))
        dispatcher = Dispatcher(
            broker,
            {
                RUN_EXECUTION: executions.run,
                BUILD_DEPLOYMENT: builds.run,
                STOP_EXECUTION: cleanup.stop_execution,
                STOP_BUILD: builds.stop,
                RETIRE_DEPLOYMENT: cleanup.retire_deployment,
                RETIRE_FUNCTION: cleanup.retire_function,
                WARM_FUNCTION: _prewarming(settings, process, executor).warm,
            },
        )
        claim_reconciliation = ClaimReconciliation(
            process.log,
            process.process_lease,
            ClaimedWork(executions.held, executions.stop),
            ClaimedWork(builds.held, builds.stop),
        )
        reconciling = asyncio.ensure_future(keep(Duty("stock", settings.lease_s / 2, claim_reconciliation.take)))
        dispatcher.start()
        dispatch_socket = DispatchSocket.open(
            settings.executor_urls, functools.partial(_answer, dispatcher, executions)
        )
        try:
            await _until(asked, tell, doing)
        finally:
            if dispatch_socket is not None:
                dispatch_socket.close()
            await dispatcher.stop(GRACE_SECONDS)
            reconciling.cancel()


async def serve_keeper(settings: Settings, *, asked: asyncio.Event, tell: Tell) -> None:
    """Keep until `asked` to end: lead when nobody else does, else stand by."""
    keeper: Keeper | None = None

    def doing() -> str:
        return "leads" if keeper is not None and keeper.active else "stands by"

    async with (
        opened(settings, "keeper", doing) as process,
        Listener.open(process.database) as listener,
        Listener.open(process.database, FREED_SLOTS) as freed_slots,
    ):
        queue = JobMessageBroker(settings.redis_url)

        leadership = Leadership(process.database, process.log.reader.readable)
        keeper = Keeper(leadership, lambda: _term(settings, process, listener, freed_slots, queue))
        keeping = asyncio.ensure_future(keeper.serve())
        try:
            await _until(asked, tell, doing)
        finally:
            await end(keeping)


def _term(
    settings: Settings, process: Process, listener: Listener, freed_slots: Listener, queue: JobMessageBroker
) -> Sequence[Work]:
    """The followers and the clocks of one keeper's term."""
    event_log = process.log
    tail_cache = TailCache(process.log.reader, listener)
    followers = _followers(process, listener, tail_cache, queue)
    wake_runs = functools.partial(wake, process.database, queue, RUN_EXECUTION)
    holds, schedules = Holds(process.database), Schedules(event_log, queue, look_back_seconds=5.0)
    duties = [
        Duty("reaper", settings.lease_s / 5, Reaper(event_log, lease_seconds=settings.lease_s).sweep),
        Duty("overdue", 5.0, Overdue(event_log, slack_seconds=OVERDUE_SECONDS + settings.start_timeout_s).sweep),
        Duty("vacancies", 1.0, FreedSlots(process.database, freed_slots, wake_runs).run),
        Duty("missed", 2.0, unless_held(holds, SCHEDULES, Redelivery(process.database, queue).sweep)),
        Duty("schedules", 0.5, unless_held(holds, SCHEDULES, schedules.tick)),
        Duty("warmth", LOOK_SECONDS, unless_held(holds, SCHEDULES, Warming(process.database, queue).sweep)),
        Duty("abandoned", 5.0, _retention(settings, process).end_abandoned_builds),
        Duty("retention", 600.0, _retention(settings, process).run, delay=60.0),
        Duty("litter", 3600.0, _blob_garbage(settings, process).run, delay=300.0),
        Duty("unfinished", 10.0, process.contents.blobs.forget_unfinished),
        Duty("idempotency", 600.0, _idempotency(process).forget_old, delay=120.0),
    ]
    sealing = Sealing(process.log, settings)
    duties += sealing.duties()
    followers.append(sealing.follower(listener, tail_cache))
    return [*(follower.run for follower in followers), *(_kept(duty) for duty in duties)]


def _followers(process: Process, listener: Listener, tail_cache: TailCache, queue: JobMessageBroker) -> list[Follower]:
    """Those that somebody waits for come first; the others let events gather."""
    follower = functools.partial(Follower, reader=process.log.reader, listener=listener, tail_cache=tail_cache)
    return [
        follower(
            "relay", ExternalHandler(sender(queue)), wants=relay_wants, rest_seconds=0.01, transient=(QueueUnavailable,)
        ),
        Triggers(process.log, process.vault).follower(listener, tail_cache),
        *(
            follower(name, one.handle, wants=one.wants, gather_seconds=one.gather_seconds)
            for name, one in FOLLOWING.items()
        ),
    ]


def _kept(duty: Duty) -> Work:
    return lambda: keep(duty)


def _answer(dispatcher: Dispatcher, executions: Executions, direct_dispatch: DirectDispatch) -> None:
    dispatcher.begin_now(
        JobMessage(RUN_EXECUTION, direct_dispatch.stream), functools.partial(executions.begin, direct_dispatch)
    )


def _executions(settings: Settings, process: Process, executor: Executor) -> Executions:
    return Executions(
        process.log,
        process_lease=process.process_lease,
        contents=process.contents,
        vault=process.vault,
        environments=process.environments,
        executor=executor,
        start_seconds=float(settings.start_timeout_s),
        executor_retry_seconds=EXECUTOR_SECONDS,
    )


def _prewarming(settings: Settings, process: Process, executor: Executor) -> Prewarming:
    start_seconds = float(settings.start_timeout_s)
    return Prewarming(process.database, process.environments, executor, start_seconds=start_seconds)


def _builds(settings: Settings, process: Process, executor: Executor, queue: JobMessageBroker) -> Builds:
    locator, repositories = Locator(process.log, process.vault, settings.git_remotes), _repositories(settings)
    return Builds(
        process.log,
        process_lease=process.process_lease,
        vault=process.vault,
        environments=process.environments,
        executor=executor,
        sources=Sources(process.log, blobs=process.contents.blobs, locator=locator, repositories=repositories),
        statuses=Statuses(process.log, locator, repositories),
        limits=BuildLimits(
            timeout_seconds=float(settings.build_timeout_s), output_limit_bytes=settings.build_output_limit_bytes
        ),
        queue=queue,
    )


def _repositories(settings: Settings) -> Repositories:
    return Repositories(
        allowed_hosts=settings.git_allowed_hosts,
        bounds=FetchBounds(
            seconds=float(settings.git_timeout_s),
            transfer_bytes=settings.git_transfer_limit_bytes,
            archive_bytes=settings.upload_limit_bytes,
        ),
    )


def _retention(settings: Settings, process: Process) -> Retention:
    return Retention(process.log, execution_days=settings.execution_retention_days)


def _idempotency(process: Process) -> Idempotency:
    return Idempotency(process.database, process.contents, process.vault)


def _blob_garbage(settings: Settings, process: Process) -> BlobGarbage:
    return BlobGarbage(process.database, process.contents, grace=timedelta(hours=1, seconds=settings.build_timeout_s))


async def _until(asked: asyncio.Event, tell: Tell, doing: Callable[[], str]) -> None:
    while not asked.is_set():
        tell(doing())
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asked.wait()
