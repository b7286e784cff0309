"""How many requests of a project an API process works on at once while another project calls too.

Why, and why not otherwise: docs/adr/0031-fair-sharing.md; for how many
docs/adr/0033-even-shares.md; which docs/adr/0036-fair-queue-for-all-requests.md.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress

from annals.capacity.counting import decrement
from annals.capacity.tenant_activity import TenantActivity
from annals.domain.errors import RateLimited

FEW = 2
"""FairQueue at once that a project may have in a process while others have called, but want nothing just now."""

LONGEST_REST_SECONDS = 0.02
"""After a permit of a project that has more to do, beside others that want something."""

RETRY_SECONDS = 1

_Waiting = tuple["asyncio.Future[None]", int]
"""A turn to come, and beside how many of its project it begins in any company."""


class Permit:
    """A request's work in one go; of a call until its code runs and that is recorded, or from its end to the answer."""

    __slots__ = ("_began", "_fair_queue", "_project")

    def __init__(self, fair_queue: "FairQueue", project: str) -> None:
        self._fair_queue: FairQueue | None = fair_queue
        self._project, self._began = project, asyncio.get_running_loop().time()

    @property
    def ended(self) -> bool:
        return self._fair_queue is None

    def end(self) -> None:
        """Let the project's next one begin; once is enough."""
        fair_queue, self._fair_queue = self._fair_queue, None
        if fair_queue is not None:
            fair_queue._give(self._project, asyncio.get_running_loop().time() - self._began)


class FairQueue:
    """One per process. Single-threaded: every method runs on the event loop.

    A project alone on its host has as many at once as it wants. In company it has no more on the whole host than all
    others want together, `few` in each process while they want nothing, and one in each process at any rate: who wants
    much waits behind its own, and who wants little begins at once. Where some wait, each leaves as much time to the
    others as it took, `rest_seconds` at most.
    """

    def __init__(
        self, tenant_activity: TenantActivity, few: int = FEW, rest_seconds: float = LONGEST_REST_SECONDS
    ) -> None:
        self._tenant_activity, self._few, self._rest_seconds = tenant_activity, few, rest_seconds
        self._working: Counter[str] = Counter()
        self._wanted: Counter[str] = Counter()
        self._all_wanted = 0
        self._greatest = ""
        self._waiting: dict[str, deque[_Waiting]] = {}

    @property
    def waiting(self) -> int:
        """FairQueue that have not begun."""
        return sum(len(queue) for queue in self._waiting.values())

    def met(self, project_id: str) -> None:
        """A project has called, whatever for."""
        self._tenant_activity.met(project_id)

    def is_contended(self, project_id: str) -> bool:
        """Whether another project has called a moment ago."""
        return self._tenant_activity.of(project_id)

    @asynccontextmanager
    async def one(self, project_id: str, *, seconds: float | None = None, least: int = 1) -> AsyncIterator[Permit]:
        """Begin when it may, and at once beside less than `least`; the permit ends with the block, or before.

        Raises RateLimited when it could not begin within `seconds`, for work that can be refused.
        """
        self._want_more(project_id)
        if project_id in self._waiting or not self._fits(project_id, least):
            await self._turn(project_id, seconds, least)
        else:
            self._begin(project_id)
        permit = Permit(self, project_id)
        try:
            yield permit
        finally:
            permit.end()

    def gone_on(self, begun: Permit | None, project_id: str, *, seconds: float) -> AbstractAsyncContextManager[Permit]:
        """Work that goes on within a permit, or begins one of its own where there is none."""
        return self.one(project_id, seconds=seconds) if begun is None else nullcontext(begun)

    def _fits(self, project_id: str, least: int) -> bool:
        working, tenant_activity = self._working[project_id], self._tenant_activity
        if working < least or not tenant_activity.of(project_id):
            return True
        others_want = tenant_activity.others_want(project_id)
        return working + tenant_activity.elsewhere(project_id) < others_want if others_want else working < self._few

    async def _turn(self, project_id: str, seconds: float | None, least: int) -> None:
        """Wait until the permit may begin, and count it."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = turn, least
        self._waiting.setdefault(project_id, deque()).append(waiting)
        try:
            async with asyncio.timeout(seconds):
                await turn
        except TimeoutError:
            self._forgo(project_id, waiting)
            raise RateLimited(
                "Other projects call as well, and so many of this project's calls wait that this one could not begin"
                f" within {seconds:g} seconds. Try again in a moment.",
                retry_after=RETRY_SECONDS,
            ) from None
        except asyncio.CancelledError:
            self._forgo(project_id, waiting)
            raise

    def _forgo(self, project_id: str, waiting: _Waiting) -> None:
        """Stop waiting; a turn that came in the same moment goes to the next."""
        turn, _ = waiting
        if turn.done() and not turn.cancelled():
            self._give(project_id, 0.0)
            return
        turn.cancel()
        self._want_less(project_id)
        queue = self._waiting.get(project_id, deque())
        with suppress(ValueError):
            queue.remove(waiting)

    def _want_more(self, project_id: str) -> None:
        self._all_wanted += 1
        self._wanted[project_id] += 1
        if self._wanted[project_id] >= self._wanted[self._greatest]:
            self._greatest = project_id
        self._tell()

    def _want_less(self, project_id: str) -> None:
        self._all_wanted -= 1
        decrement(self._wanted, project_id)
        self._tell()

    def _begin(self, project_id: str) -> None:
        self._working[project_id] += 1
        if project_id == self._greatest:
            self._tell()

    def _tell(self) -> None:
        greatest = self._greatest
        self._tenant_activity.tell(self._all_wanted, greatest, self._wanted[greatest], self._working[greatest])

    def _give(self, project_id: str, worked: float) -> None:
        """Those that wait begin now; while others want something, after a rest as long as this one's work."""
        decrement(self._working, project_id)
        self._want_less(project_id)
        if project_id not in self._waiting:
            return
        rest = min(worked, self._rest_seconds)
        if rest and self._tenant_activity.of(project_id) and self._tenant_activity.others_want(project_id):
            asyncio.get_running_loop().call_later(rest, self._serve, project_id)
        else:
            self._serve(project_id)

    def _serve(self, project_id: str) -> None:
        queue = self._waiting.get(project_id)
        while queue and self._fits(project_id, queue[0][1]):
            turn, _ = queue.popleft()
            if not turn.done():  # one that was cancelled has not been told yet
                self._begin(project_id)
                turn.set_result(None)
        if not queue:
            self._waiting.pop(project_id, None)
