"""The queue of an API process in which a project's requests wait while other projects call too.

`FairShare` decides which request may start; docs/adr/0036-fair-queue-for-all-requests.md says which requests queue.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress

from annals.capacity.fair_share import FEW, LONGEST_REST_SECONDS, FairShare
from annals.capacity.shared_memory import TenantActivity
from annals.domain.errors import RateLimited

RETRY_SECONDS = 1

_Waiting = tuple["asyncio.Future[None]", int]
"""A request that waits: the future that starts it, and its `least`."""


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
