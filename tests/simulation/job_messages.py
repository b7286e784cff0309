"""The simulated queue, which may lose, double, delay and reorder its messages, and the dispatchers that it serves."""

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from annals.domain.ports import ExecutorUnavailable
from annals.store.errors import StoreUnavailable
from annals.workers.broker import QueueUnavailable
from annals.workers.job_messages import QUEUE_OF, Cause, JobMessage, split_stream
from tests.simulation.loop import Node, SimulatedLoop

Handler = Callable[[str, Cause], Awaitable[None]]


class QueueFaults:
    """The likelihoods of faults for each job message."""

    def __init__(self) -> None:
        self.drop = self.double = self.delay = self.reorder = 0.0


class SimulatedQueue:
    def __init__(self, loop: SimulatedLoop, rng: random.Random) -> None:
        self._loop, self._rng = loop, rng
        self._waiting: dict[str, list[JobMessage]] = {name: [] for name in QUEUE_OF.values()}
        self.dispatchers: list[SimulatedDispatcher] = []
        self.faults = QueueFaults()
        self.up = True

    def wake(self, job_messages: Iterable[JobMessage]) -> int:
        """Queue job messages. Raises QueueUnavailable."""
        if not self.up:
            raise QueueUnavailable("the queue does not answer")
        count = 0
        for job_message in job_messages:
            count += 1
            if self._rng.random() < self.faults.drop:
                continue
            self._put(job_message)
            if self._rng.random() < self.faults.double:
                self._put(job_message)
        return count

    def queued(self, name: str, tenant: str = "") -> int:
        """Return the number of queued messages. Raises QueueUnavailable."""
        if not self.up:
            raise QueueUnavailable("the queue does not answer")
        return sum(not tenant or split_stream(waiting.stream)[0] == tenant for waiting in self._waiting[name])

    def empty(self) -> None:
        """Lose all messages, as a restarted Redis does."""
        for waiting in self._waiting.values():
            waiting.clear()

    def take(self, name: str) -> JobMessage | None:
        waiting = self._waiting[name]
        if not self.up or not waiting:
            return None
        at = self._rng.randrange(len(waiting)) if self._rng.random() < self.faults.reorder else 0
        return waiting.pop(at)

    def ring(self) -> None:
        for dispatcher in self.dispatchers:
            self._loop.call_later(self._rng.random() * 0.003, dispatcher.pull, context=dispatcher.node.context)

    def _put(self, job_message: JobMessage) -> None:
        if self._rng.random() < self.faults.delay:
            self._loop.call_later(self._rng.random() * 8.0, self._arrive, job_message)
        else:
            self._arrive(job_message)

    def _arrive(self, job_message: JobMessage) -> None:
        self._waiting[QUEUE_OF[job_message.actor]].append(job_message)
        self.ring()


class SimulatedDispatcher:
    """A worker's dispatcher: it works on as many messages at once as each queue's limiter admits. Its work dies with
    its node.
    """

    def __init__(
        self,
        queue: SimulatedQueue,
        node: Node,
        handlers: Mapping[str, Handler],
        limiters: Mapping[str, int],
        failed: Callable[[str], Any],
    ) -> None:
        self._queue, self.node, self._handlers, self._failed = queue, node, handlers, failed
        self._free = dict(limiters)
        self._limiters = dict(limiters)
        queue.dispatchers.append(self)
        node.ended.append(lambda: queue.dispatchers.remove(self))

    @property
    def busy(self) -> bool:
        return self._free != self._limiters

    def full(self, queue: str) -> bool:
        return self._free[queue] == 0

    def pull(self) -> None:
        for name in self._free:
            while self._free[name] and (job_message := self._queue.take(name)) is not None:
                self._free[name] -= 1
                self.node.spawn(self._work(name, job_message))

    async def _work(self, name: str, job_message: JobMessage) -> None:
        try:
            await self._handlers[job_message.actor](job_message.stream, job_message.cause)
        except (ExecutorUnavailable, StoreUnavailable):
            pass  # the real dispatcher logs it: waiting work is sent again, held work is taken back
        except Exception as error:
            self._failed(f"{job_message.actor} of {job_message.stream} failed: {error!r}")
        finally:
            self._free[name] += 1
            self.pull()
