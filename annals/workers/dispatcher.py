"""The worker's dispatcher: takes job messages from Dramatiq's threads and works on many at a time in the event loop."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping

import dramatiq
import structlog

from annals.capacity.limiter import WorkerLimiter
from annals.workers.broker import JobMessageBroker
from annals.workers.job_messages import QUEUE_OF, Cause, JobMessage, split_stream

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
