"""The worker process: actors that work on job messages, and the reconciliation of their claims.

The dispatcher takes job messages from Dramatiq's threads, and works on many at a time in the event loop.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping

import dramatiq
import structlog

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
from annals.workers.cleanup import Cleanup
from annals.workers.clock import Duty, keep
from annals.workers.executions import ExecutionActor
from annals.workers.job_messages import (
    BUILD_DEPLOYMENT,
    BUILDS,
    CLEANUP,
    EXECUTIONS,
    QUEUE_OF,
    RETIRE_DEPLOYMENT,
    RETIRE_FUNCTION,
    RUN_EXECUTION,
    STOP_BUILD,
    STOP_EXECUTION,
    WARM_FUNCTION,
    Cause,
    JobMessage,
    split_stream,
)
from annals.workers.prewarming import Prewarming
from annals.workers.reaper import ClaimedWork, ClaimReconciliation
from annals.workers.sources import SourceFetcher, Statuses
from annals.workers.wiring import CONNECTIONS, Tell, blob_garbage, retention, until

GRACE_SECONDS = 4.0
"""How long work in hand may take to end after its process was asked to end; then it is handed back."""

Handler = Callable[[str, Cause], Awaitable[None]]
"""Works on one stream to its end; an exception is a fault, and is logged."""

Work = Callable[[], Awaitable[None]]
"""The work of one job message."""

_THREADS = 2
_THREAD_WAKE_MS = 200
_STOP_MS = 2000

log = structlog.get_logger(__name__)


class Dispatcher:
    """Owns the Dramatiq worker of this process. A job message holds a slot of its queue's limiter until it is done."""

    def __init__(self, broker: JobMessageBroker, handlers: Mapping[str, Handler]) -> None:
        self._broker = broker
        self._handlers = handlers
        self._limiters: Mapping[str, WorkerLimiter] = broker.limiters
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        for actor, queue in QUEUE_OF.items():
            if actor in handlers:
                dramatiq.Actor(
                    self._hand_over(actor), broker=broker, actor_name=actor, queue_name=queue, priority=0, options={}
                )
        self._worker = dramatiq.Worker(broker, worker_threads=_THREADS, worker_timeout=_THREAD_WAKE_MS)

    def start(self) -> None:
        self._worker.start()

    async def stop(self, grace_seconds: float) -> None:
        """Stop fetching, give back waiting messages, and cancel work that still runs after `grace_seconds`."""
        for limiter in self._limiters.values():
            limiter.close()
        await asyncio.to_thread(self._worker.stop, _STOP_MS)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def busy(self) -> dict[str, int]:
        """Return how many job messages of each queue are worked on."""
        return {queue: limiter.busy for queue, limiter in self._limiters.items()}

    def begin_now(self, job_message: JobMessage, work: Work) -> None:
        """Start work that also has a job message in the queue, in a slot of its own, unless others wait for a slot."""
        if self._limiters[QUEUE_OF[job_message.actor]].enter(_tenant(job_message)):
            self._begin(job_message, work)

    def _hand_over(self, actor: str) -> Callable[[str, int, str], None]:
        handler = self._handlers[actor]

        def hand_over(stream: str, position: int, correlation: str) -> None:
            job_message = JobMessage(actor, stream, Cause(position, correlation))
            self._loop.call_soon_threadsafe(
                self._begin, job_message, functools.partial(handler, stream, job_message.cause)
            )

        return hand_over

    def _begin(self, job_message: JobMessage, work: Work) -> None:
        task = self._loop.create_task(self._work(job_message, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, job_message: JobMessage, work: Work) -> None:
        try:
            await work()
        except Exception:
            log.exception("work_failed", actor=job_message.actor, stream=job_message.stream)
        finally:
            self._limiters[QUEUE_OF[job_message.actor]].release(tenant=_tenant(job_message))


def _tenant(job_message: JobMessage) -> str:
    return split_stream(job_message.stream)[0]


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
