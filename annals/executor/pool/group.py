"""The instances of one deployment and environment: ready, starting, asked for."""

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
    """Who waits for a slot, and since when (monotonic)."""

    slot: "asyncio.Future[Instance]"
    since: float


class Group:
    """The instances of one key, those that are starting, and who waits for one.

    `concurrency` is what its instances were found to take at once, 0 while that is unknown. `kept` of them are ready
    until `kept_until` (monotonic) even with nothing to do.
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
        """Start and scale instances as this run says, from now on."""
        self.run = msgspec.structs.replace(run, headers=[], body=b"")

    @property
    def size(self) -> int:
        return len(self.ready) + len(self.starting)

    @property
    def each(self) -> int:
        """How many requests one more instance will take; before the first, one is assumed to do for all."""
        return max(1, self.concurrency or len(self.waiting))

    def free(self) -> Instance | None:
        """The busiest instance that can take one more: load gathers, so that the others fall idle and end."""
        return max((i for i in self.ready if i.free), key=lambda i: i.in_flight, default=None)

    def ask(self) -> "asyncio.Future[Instance]":
        """Queue for a slot."""
        slot: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self.waiting.append(Waiter(slot, time.monotonic()))
        return slot

    def forgo(self, slot: "asyncio.Future[Instance]") -> None:
        """Stop waiting; a slot that came in the same moment goes to the next."""
        if slot.done() and not slot.cancelled() and not slot.exception():
            slot.result().leave()
            self.hand_out()
        slot.cancel()
        self.waiting = deque(waiter for waiter in self.waiting if waiter.slot is not slot)

    def hand_out(self) -> None:
        """Give free slots to those who wait, in their order."""
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
        """Start nothing more, and wait for nothing."""
        self.fail(error)
        if self.hesitating:
            self.hesitating.cancel()
            self.hesitating = None
        for task in self.starting:
            task.cancel()

    def settle(self, instance: Instance) -> None:
        """Take in an instance that has started."""
        if self.concurrency:
            instance.concurrency = self.concurrency
        self.ready.append(instance)

    def keep(self, instances: int, seconds: float) -> None:
        self.kept, self.kept_until = instances, time.monotonic() + seconds

    def wants(self, now: float) -> int:
        """How many must stay ready."""
        return self.kept if now < self.kept_until else 0
