"""The instances of one deployment and environment, and the calls that wait for one of them."""

import asyncio
import time
from collections import deque
from typing import NamedTuple

import msgspec

from annals.domain.ports import Run
from annals.executor.pool.instance import Instance

Key = tuple[str, str, str]


def key_of(run: Run) -> Key:
    return run.project, run.deployment, run.environment_digest


class Waiter(NamedTuple):
    """A call that waits for a slot, and since when (monotonic)."""

    slot: "asyncio.Future[Instance]"
    since: float


class InstanceGroup:
    """The instances of one key, ready or starting, and the calls that wait.

    `concurrency` is how many requests one instance takes at once, 0 while that is unknown. At least `kept` instances
    stay ready until `kept_until` (monotonic), even if they are idle.
    """

    def __init__(self, run: Run) -> None:
        self.follow(run)
        self.ready: list[Instance] = []
        self.starting: set[asyncio.Task[None]] = set()
        self.waiting: deque[Waiter] = deque()
        self.concurrency = 0
        self.hesitating: asyncio.TimerHandle | None = None
        self.kept = 0
        self.kept_until = 0.0

    def follow(self, run: Run) -> None:
        """Use this run's settings to start and scale instances from now on."""
        self.run = msgspec.structs.replace(run, headers=[], body=b"")

    @property
    def size(self) -> int:
        return len(self.ready) + len(self.starting)

    @property
    def each(self) -> int:
        """Return how many requests one more instance will take; the first one is assumed to take all."""
        return max(1, self.concurrency or len(self.waiting))

    def free(self) -> Instance | None:
        """Return the busiest instance with a free slot: this concentrates load, so that others become idle and end."""
        return max((i for i in self.ready if i.free), key=lambda i: i.in_flight, default=None)

    def ask(self) -> "asyncio.Future[Instance]":
        """Queue for a slot."""
        slot: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self.waiting.append(Waiter(slot, time.monotonic()))
        return slot

    def forgo(self, slot: "asyncio.Future[Instance]") -> None:
        """Stop waiting; a slot that was assigned at the same moment goes to the next call."""
        if slot.done() and not slot.cancelled() and not slot.exception():
            slot.result().leave()
            self.hand_out()
        slot.cancel()
        self.waiting = deque(waiter for waiter in self.waiting if waiter.slot is not slot)

    def hand_out(self) -> None:
        """Assign free slots to waiting calls in their order."""
        while self.waiting and (instance := self.free()):
            slot = self.waiting.popleft().slot
            if not slot.done():
                instance.enter()
                slot.set_result(instance)

    def fail(self, error: Exception) -> None:
        while self.waiting:
            slot = self.waiting.popleft().slot
            if not slot.done():
                slot.set_exception(error)

    def abandon(self, error: Exception) -> None:
        """Fail waiting calls, and cancel starts."""
        self.fail(error)
        if self.hesitating:
            self.hesitating.cancel()
            self.hesitating = None
        for task in self.starting:
            task.cancel()

    def add(self, instance: Instance) -> None:
        """Add an instance that has started."""
        if self.concurrency:
            instance.concurrency = self.concurrency
        self.ready.append(instance)

    def keep(self, instances: int, seconds: float) -> None:
        self.kept, self.kept_until = instances, time.monotonic() + seconds

    def wants(self, now: float) -> int:
        """Return how many instances must stay ready."""
        return self.kept if now < self.kept_until else 0
