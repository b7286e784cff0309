"""The queue of an API process in which a project's requests wait while other projects call too.

`FairShare` is the policy: may a project's request start now, given what all want? It has no event loop, clock or shared
memory. Why, and why not otherwise: docs/adr/0031-fair-sharing.md; for the numbers docs/adr/0033-even-shares.md.

`FairQueue` lets requests wait until the policy lets them start. Which requests queue:
docs/adr/0036-fair-queue-for-all-requests.md.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Protocol

from annals.capacity.limiter import decrement
from annals.capacity.shared_memory import ProcessDemand, TenantActivity
from annals.domain.errors import RateLimited

RETRY_SECONDS = 1

_Waiting = tuple["asyncio.Future[None]", int]
"""A request that waits: the future that starts it, and its `least`."""

FEW = 2
"""Running requests that a project may have in a process while other projects called a moment ago, but want nothing."""

LONGEST_REST_SECONDS = 0.02
"""The longest rest of a project between two of its requests while other projects want something."""


class HostActivity(Protocol):
    """What the policy knows of the host; `TenantActivity` reads it from shared memory."""

    def is_contended(self, project_id: str) -> bool:
        """Return True if another project called a moment ago."""

    def others_demand(self, project_id: str) -> int:
        """Return how many requests of other projects the host has, this process's included."""

    def running_elsewhere(self, project_id: str) -> int:
        """Return how many requests of the project run in other processes."""


class FairShare:
    """The requests of one process by project, and the decision which may start.

    - A project alone on its host starts as many requests as it wants.
    - While others want something, a project runs no more on the whole host than all others want together.
    - While others called a moment ago but want nothing, it runs at most `few` in each process.
    - One request in each process may always run, so every project makes progress.

    So a project with many requests waits for itself, and a project with few requests starts at once. While others want
    something, a project with waiting requests rests after each for as long as that took, `longest_rest` at most.

    A request is added, then started, then ended; a request that is given up before it starts is removed.
    """

    def __init__(self, host: HostActivity, few: int = FEW, longest_rest: float = LONGEST_REST_SECONDS) -> None:
        self._host = host
        self._few = few
        self._longest_rest = longest_rest
        self._running: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._all_requests = 0
        self._busiest = ""

    def add(self, project_id: str) -> None:
        """Count a request that arrived."""
        self._all_requests += 1
        self._requests[project_id] += 1
        if self._requests[project_id] >= self._requests[self._busiest]:
            self._busiest = project_id

    def may_start(self, project_id: str, least: int = 1) -> bool:
        """Return True if one more request of the project may start; always while fewer than `least` run here."""
        running = self._running[project_id]
        if running < least or not self._host.is_contended(project_id):
            return True
        others_demand = self._host.others_demand(project_id)
        if not others_demand:
            return running < self._few
        return running + self._host.running_elsewhere(project_id) < others_demand

    def start(self, project_id: str) -> None:
        """Count a request as running."""
        self._running[project_id] += 1

    def end(self, project_id: str) -> None:
        """Forget a request that ran."""
        decrement(self._running, project_id)
        self.remove(project_id)

    def remove(self, project_id: str) -> None:
        """Forget a request that was given up before it started."""
        self._all_requests -= 1
        decrement(self._requests, project_id)

    def rest_seconds(self, project_id: str, worked: float) -> float:
        """Return how long the project waits after a request that took `worked` seconds before its next one starts."""
        rest = min(worked, self._longest_rest)
        if rest and self._host.is_contended(project_id) and self._host.others_demand(project_id):
            return rest
        return 0.0

    def is_busiest(self, project_id: str) -> bool:
        """Return True for the project whose numbers `demand` shows."""
        return project_id == self._busiest

    def demand(self) -> ProcessDemand:
        """Return what this process has to do, for the other processes of the host."""
        busiest = self._busiest
        return ProcessDemand(self._all_requests, busiest, self._requests[busiest], self._running[busiest])


class Permit:
    """Permission for one request to work: from its start until it ends the permit, or until its block ends.

    A call of a function needs two: one until its code runs and that is recorded, one from its code's end to the answer.
    """

    __slots__ = ("_fair_queue", "_project", "_started")

    def __init__(self, fair_queue: "FairQueue", project: str) -> None:
        self._fair_queue: FairQueue | None = fair_queue
        self._project = project
        self._started = asyncio.get_running_loop().time()

    @property
    def ended(self) -> bool:
        return self._fair_queue is None

    def end(self) -> None:
        """Let the project's next request start. A second call does nothing."""
        fair_queue, self._fair_queue = self._fair_queue, None
        if fair_queue is not None:
            fair_queue._end(self._project, asyncio.get_running_loop().time() - self._started)


class FairQueue:
    """One per process. Requests of one project start in the order of their arrival.

    Single-threaded: every method runs on the event loop.
    """

    def __init__(
        self, tenant_activity: TenantActivity, few: int = FEW, rest_seconds: float = LONGEST_REST_SECONDS
    ) -> None:
        self._tenant_activity = tenant_activity
        self._share = FairShare(tenant_activity, few, rest_seconds)
        self._waiting: dict[str, deque[_Waiting]] = {}

    @property
    def waiting(self) -> int:
        """The number of requests that have not started."""
        return sum(len(queue) for queue in self._waiting.values())

    def record_call(self, project_id: str) -> None:
        """Record that a project called, with any request."""
        self._tenant_activity.record_call(project_id)

    def is_contended(self, project_id: str) -> bool:
        """Return True if another project called a moment ago."""
        return self._tenant_activity.is_contended(project_id)

    @asynccontextmanager
    async def permit(self, project_id: str, *, seconds: float | None = None, least: int = 1) -> AsyncIterator[Permit]:
        """Wait until the request may start, which is at once while fewer than `least` of its project run.

        Raises RateLimited if it could not start within `seconds`.
        """
        self._share.add(project_id)
        self._publish()
        if project_id in self._waiting or not self._share.may_start(project_id, least):
            await self._wait(project_id, seconds, least)
        else:
            self._start(project_id)
        permit = Permit(self, project_id)
        try:
            yield permit
        finally:
            permit.end()

    def resume(self, permit: Permit | None, project_id: str, *, seconds: float) -> AbstractAsyncContextManager[Permit]:
        """Continue work under a permit, or wait for a new one if there is none."""
        return self.permit(project_id, seconds=seconds) if permit is None else nullcontext(permit)

    async def _wait(self, project_id: str, seconds: float | None, least: int) -> None:
        """Wait until the request is started. Raises RateLimited."""
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = started, least
        self._waiting.setdefault(project_id, deque()).append(waiting)
        try:
            async with asyncio.timeout(seconds):
                await started
        except TimeoutError:
            self._give_up(project_id, waiting)
            raise RateLimited(
                "Other projects call as well, and so many of this project's calls wait that this one could not begin"
                f" within {seconds:g} seconds. Try again in a moment.",
                retry_after=RETRY_SECONDS,
            ) from None
        except asyncio.CancelledError:
            self._give_up(project_id, waiting)
            raise

    def _give_up(self, project_id: str, waiting: _Waiting) -> None:
        """Stop waiting. A request that was started in the same moment ends, and the next one starts."""
        started, _ = waiting
        if started.done() and not started.cancelled():
            self._end(project_id, 0.0)
            return
        started.cancel()
        self._share.remove(project_id)
        self._publish()
        with suppress(KeyError, ValueError):
            self._waiting[project_id].remove(waiting)

    def _start(self, project_id: str) -> None:
        self._share.start(project_id)
        if self._share.is_busiest(project_id):
            self._publish()

    def _end(self, project_id: str, worked: float) -> None:
        """End a request, and start those that wait, after the project's rest."""
        self._share.end(project_id)
        self._publish()
        if project_id not in self._waiting:
            return
        if rest := self._share.rest_seconds(project_id, worked):
            asyncio.get_running_loop().call_later(rest, self._start_waiting, project_id)
        else:
            self._start_waiting(project_id)

    def _start_waiting(self, project_id: str) -> None:
        queue = self._waiting.get(project_id)
        while queue and self._share.may_start(project_id, queue[0][1]):
            started, _ = queue.popleft()
            if not started.done():  # a cancelled request removes itself
                self._start(project_id)
                started.set_result(None)
        if not queue:
            self._waiting.pop(project_id, None)

    def _publish(self) -> None:
        self._tenant_activity.publish(self._share.demand())
