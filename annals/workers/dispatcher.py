"""The worker's desk: takes wake-ups from Dramatiq's threads and works on them in the event loop, many at a time."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping

import dramatiq
import structlog

from annals.capacity.worker_limiter import Gate
from annals.workers.broker import WakeUpBroker
from annals.workers.job_messages import QUEUE_OF, Cause, WakeUp, split_stream

Handler = Callable[[str, Cause], Awaitable[None]]
"""Works on one stream to its end; what it raises was not planned for, and is logged."""

Work = Callable[[], Awaitable[None]]
"""What a handler does about one wake-up."""

_THREADS = 2
_THREAD_WAKE_MS = 200
_STOP_MS = 2000

log = structlog.get_logger(__name__)


class Desk:
    """Owns the Dramatiq worker of this process. A wake-up's place in its queue's gate is given back when it is done."""

    def __init__(self, broker: WakeUpBroker, handlers: Mapping[str, Handler]) -> None:
        self._broker, self._handlers = broker, handlers
        self._gates: Mapping[str, Gate] = broker.gates
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
        """Fetch nothing more, give back what waits, cancel what still runs after `grace_seconds`."""
        for gate in self._gates.values():
            gate.close()
        await asyncio.to_thread(self._worker.stop, _STOP_MS)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def busy(self) -> dict[str, int]:
        """Work in hand by queue."""
        return {queue: gate.busy for queue, gate in self._gates.items()}

    def begin_now(self, wake_up: WakeUp, work: Work) -> None:
        """Do at once what is woken through the queue as well, in a place of its own, unless others wait for one."""
        if self._gates[QUEUE_OF[wake_up.actor]].enter(_lane(wake_up)):
            self._begin(wake_up, work)

    def _hand_over(self, actor: str) -> Callable[[str, int, str], None]:
        handler = self._handlers[actor]

        def hand_over(stream: str, position: int, correlation: str) -> None:
            wake_up = WakeUp(actor, stream, Cause(position, correlation))
            self._loop.call_soon_threadsafe(self._begin, wake_up, functools.partial(handler, stream, wake_up.cause))

        return hand_over

    def _begin(self, wake_up: WakeUp, work: Work) -> None:
        task = self._loop.create_task(self._work(wake_up, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, wake_up: WakeUp, work: Work) -> None:
        try:
            await work()
        except Exception:
            log.exception("work_failed", actor=wake_up.actor, stream=wake_up.stream)
        finally:
            self._gates[QUEUE_OF[wake_up.actor]].release(lane=_lane(wake_up))


def _lane(wake_up: WakeUp) -> str:
    return split_stream(wake_up.stream)[0]
