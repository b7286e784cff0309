"""How much work one process accepts: synchronous calls in the API, job messages in a worker.

The executor bounds how many calls run. These limits bound how many wait, so that a flood is refused or stays queued
instead of timing out.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from annals.domain.errors import Busy, Overloaded, RateLimited

RETRY_SECONDS = 1

PACE_SECONDS = 0.02
PACE_SLOTS = 4
"""Under backpressure a worker takes at most so many job messages, every PACE_SECONDS: 200 a second."""

CLOSED_SECONDS = 0.05
"""How long a closed limiter delays its answer: a thread that fetches messages asks again until its worker stops."""

MOST_AT_ONCE, MOST_OF_PROJECT = 768, 512
"""Concurrent requests of a process, and of one project in it. More would only make every answer later."""

K = TypeVar("K")


def decrement(counter: Counter[K], key: K) -> None:
    """Decrement; drop the key at zero."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


class RequestLimiter:
    """Bounds the concurrent requests of an API process, and of each project in it."""

    def __init__(self) -> None:
        self._running = 0
        self._running_of: Counter[str] = Counter()

    @contextmanager
    def one(self, project_id: str) -> Iterator[None]:
        """Count a request while its block runs. Raises Overloaded."""
        if self._running >= MOST_AT_ONCE or self._running_of[project_id] >= MOST_OF_PROJECT:
            raise Overloaded
        self._running += 1
        self._running_of[project_id] += 1
        try:
            yield
        finally:
            self._running -= 1
            decrement(self._running_of, project_id)


class CallLimiter:
    """Bounds the synchronous calls of an API process: `most` in all, `most_of_project` of each project.

    `queue` calls may wait for a function beyond those that its policy lets run at once.
    """

    def __init__(self, *, most: int, most_of_project: int, queue: int) -> None:
        self._most = most
        self._most_of_project = most_of_project
        self._queue = queue
        self._all = 0
        self._calls: Counter[tuple[str, str]] = Counter()

    @property
    def calls(self) -> int:
        """The number of calls in progress."""
        return self._all

    @contextmanager
    def admitted(self, project_id: str, function_id: str, concurrency: int) -> Iterator[None]:
        """Count a call while its block runs; `concurrency` bounds calls of the function, 0 for no bound.

        Raises Busy if the process is at its limit, RateLimited if the project or the function is.
        """
        project, function = (project_id, ""), (project_id, function_id)
        if self._all >= self._most:
            raise Busy
        if self._calls[project] >= self._most_of_project:
            raise RateLimited(
                f"{self._most_of_project} synchronous executions of the project are waited for. Try again in a moment.",
                retry_after=RETRY_SECONDS,
            )
        if concurrency and self._calls[function] >= concurrency + self._queue:
            raise RateLimited(
                f"The function runs {concurrency} calls at once, and {self._queue} wait for it. Try again in a moment.",
                retry_after=RETRY_SECONDS,
            )
        self._all += 1
        self._calls.update((project, function))
        try:
            yield
        finally:
            self._all -= 1
            for key in (project, function):
                decrement(self._calls, key)


class WorkerLimiter:
    """Bounds the job messages of one queue that a worker holds; further messages stay in the queue.

    The thread that fetches messages and the event loop that handles them share it. A project has at most `tenant_limit`
    of the slots. Under backpressure slots are given out at a pace that leaves the processor to other processes.

    `released` counts the slots that projects gave back. `drained` is True if the queue had no message for this process
    when it was last read.
    """

    def __init__(self, limit: int, tenant_limit: int = 0, *, backpressure: Callable[[], bool] = lambda: False) -> None:
        self._limit = limit
        self.tenant_limit = tenant_limit or limit
        self._backpressure = backpressure
        self._free = limit
        self.released = 0
        self.drained = False
        self._tenants: Counter[str] = Counter()
        self._closed = False
        self._changed = threading.Condition()

    def reserve(self, most: int, wait_seconds: float) -> int:
        """Take up to `most` slots and return their number. Wait up to `wait_seconds` if no slot is free.

        After `close` sleep a moment and return 0: a thread that asks again must not spin until its worker stops.
        """
        if self._backpressure():
            time.sleep(PACE_SECONDS)
            most = min(most, PACE_SLOTS)
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0 or self._closed, wait_seconds)
            if not self._closed:
                taken = min(most, self._free)
                self._free -= taken
                return taken
        time.sleep(min(wait_seconds, CLOSED_SECONDS))
        return 0

    def enter(self, tenant: str) -> bool:
        """Take a slot for work that did not come through the queue, unless a queued message waits for a slot."""
        if not self.drained or self._backpressure():
            return False
        with self._changed:
            if self._closed or self._free <= 0 or self._tenants[tenant] >= self.tenant_limit:
                return False
            self._free -= 1
            self._tenants[tenant] += 1
            return True

    def occupy(self, tenant: str) -> None:
        """Assign a reserved slot to a project."""
        with self._changed:
            self._tenants[tenant] += 1

    def allowed(self) -> dict[str, int]:
        """Return how many more slots each project with slots may have."""
        with self._changed:
            return {tenant: self.tenant_limit - count for tenant, count in self._tenants.items()}

    @property
    def at_limit(self) -> bool:
        """True if a project has all slots that it may have; its messages in the queue wait for one of them."""
        with self._changed:
            return any(count >= self.tenant_limit for count in self._tenants.values())

    def release(self, slots: int = 1, tenant: str = "") -> None:
        """Give slots back: slots of a project if `tenant` is given."""
        with self._changed:
            self._free += slots
            self.released += 1 if tenant else 0
            if self._tenants[tenant] > 1:
                self._tenants[tenant] -= 1
            else:
                del self._tenants[tenant]
            self._changed.notify()

    def close(self) -> None:
        """Give out no more slots. Work in progress goes on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def busy(self) -> int:
        """The number of slots taken."""
        return self._limit - self._free
