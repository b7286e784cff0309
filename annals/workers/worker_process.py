"""The worker process: actors that work on job messages, and the reconciliation of their claims."""

import asyncio
import functools

from annals.application.build_preparation import BuildLimits
from annals.application.process import Process, open_process
from annals.capacity.limiter import WorkerLimiter
from annals.capacity.shared_memory import Backpressure
from annals.domain.ports import Executor
from annals.settings import Settings
from annals.store.coordination.direct_dispatch import DirectDispatch, DispatchSocket
from annals.store.coordination.leases import BuildSlots
from annals.store.coordination.retry import EXECUTOR_SECONDS
from annals.vcs.client import Repositories
from annals.vcs.jobs import FetchBounds
from annals.vcs.locating import Locator
from annals.workers.broker import JobMessageBroker
from annals.workers.builds import BuildActor
from annals.workers.claim_reconciliation import ClaimedWork, ClaimReconciliation
from annals.workers.cleanup import Cleanup
from annals.workers.clock import Duty, keep
from annals.workers.dispatcher import Dispatcher
from annals.workers.executions import ExecutionActor
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
from annals.workers.prewarming import Prewarming
from annals.workers.sources import SourceFetcher
from annals.workers.statuses import Statuses
from annals.workers.wiring import CONNECTIONS, Tell, blob_garbage, retention, until

GRACE_SECONDS = 4.0
"""How long work in hand may take to end after its process was asked to end; then it is handed back."""


async def serve_worker(settings: Settings, executor: Executor, *, stopping: asyncio.Event, tell: Tell) -> None:
    """Work until it is `stopping`: then claim nothing more, and hand back work that does not end in time."""
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

    opening = open_process(settings, "worker", connections=CONNECTIONS, doing=doing, builds=slots)
    async with opening as process:
        broker = JobMessageBroker(settings.redis_url, limiters)
        executions = _executions(settings, process, executor)
        builds = _builds(settings, process, executor, broker)
        cleanup = Cleanup(process.log, executor, retention(settings, process), blob_garbage(settings, process))
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
            ClaimedWork(executions.claimed, executions.stop),
            ClaimedWork(builds.claimed, builds.stop),
        )
        reconciling = asyncio.ensure_future(keep(Duty("claims", settings.lease_s / 2, claim_reconciliation.run)))
        dispatcher.start()
        dispatch_socket = DispatchSocket.open(
            settings.executor_urls, functools.partial(_answer, dispatcher, executions)
        )
        try:
            await until(stopping, tell, doing)
        finally:
            if dispatch_socket is not None:
                dispatch_socket.close()
            await dispatcher.stop(GRACE_SECONDS)
            reconciling.cancel()


def _answer(dispatcher: Dispatcher, executions: ExecutionActor, direct_dispatch: DirectDispatch) -> None:
    dispatcher.begin_now(
        JobMessage(RUN_EXECUTION, direct_dispatch.stream), functools.partial(executions.begin, direct_dispatch)
    )


def _executions(settings: Settings, process: Process, executor: Executor) -> ExecutionActor:
    return ExecutionActor(
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


def _builds(settings: Settings, process: Process, executor: Executor, queue: JobMessageBroker) -> BuildActor:
    locator, repositories = Locator(process.log, process.vault, settings.git_remotes), _repositories(settings)
    return BuildActor(
        process.log,
        process_lease=process.process_lease,
        vault=process.vault,
        environments=process.environments,
        executor=executor,
        sources=SourceFetcher(process.log, blobs=process.contents.blobs, locator=locator, repositories=repositories),
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
