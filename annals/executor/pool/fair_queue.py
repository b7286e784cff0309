"""Whose turn it is on this host: no more calls at once than host, project and function may have, and projects in turn.

A call that has to wait does so before it takes an instance, so that a crowd of one project's holds up nobody else's
and a function with a bound of its own holds up nobody at all.
"""

import asyncio
from collections import Counter, deque
from contextlib import suppress
from typing import TypeVar

from annals.domain.ports import Run

Function = tuple[str, str]
K = TypeVar("K")


class NoTurn(Exception):
    """The call's turn did not come in time."""


class Turns:
    """`most` calls at once, `most_of_project` of each project; a run's own `concurrency` bounds its function's.

    Single-threaded: every method runs on the event loop.
    """

    def __init__(self, most: int, most_of_project: int) -> None:
        self._most, self._most_of_project = most, most_of_project
        self._all = 0
        self._running: Counter[str] = Counter()
        self._of_functions: Counter[Function] = Counter()
        self._waiting: dict[str, dict[str, deque[tuple[Run, asyncio.Future[None]]]]] = {}

    @property
    def waiting(self) -> int:
        """Calls whose turn has not come."""
        return sum(len(queue) for functions in self._waiting.values() for queue in functions.values())

    async def take(self, run: Run) -> None:
        """Wait for a turn; give it back with `give`. Raises NoTurn after the run's `queue_seconds`."""
        if self._fits(run) and run.function not in self._waiting.get(run.project, {}):
            self._enter(run)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run.project, {}).setdefault(run.function, deque()).append((run, turn))
        try:
            async with asyncio.timeout(run.queue_seconds):
                await turn
        except TimeoutError:
            self._forgo(run, turn)
            raise NoTurn(f"No turn came within {run.queue_seconds:g} seconds: {self._full(run)}.") from None
        except asyncio.CancelledError:
            self._forgo(run, turn)
            raise

    def give(self, run: Run) -> None:
        """Give a turn back; those whose turn it is now go on."""
        self._all -= 1
        _take_one(self._running, run.project)
        _take_one(self._of_functions, (run.project, run.function))
        self._serve()

    def _fits(self, run: Run) -> bool:
        return (
            self._all < self._most
            and self._running[run.project] < self._most_of_project
            and (not run.concurrency or self._of_functions[run.project, run.function] < run.concurrency)
        )

    def _full(self, run: Run) -> str:
        if run.concurrency and self._of_functions[run.project, run.function] >= run.concurrency:
            return f"the function runs as many calls at once as its policy allows ({run.concurrency})"
        return "the host runs as many calls at once as it may"

    def _enter(self, run: Run) -> None:
        self._all += 1
        self._running[run.project] += 1
        self._of_functions[run.project, run.function] += 1

    def _serve(self) -> None:
        """Let in whoever fits, one of each project and function in turn."""
        while self._waiting and any(self._serve_one(project) for project in tuple(self._waiting)):
            pass

    def _serve_one(self, project: str) -> bool:
        """Let in the project's next call that fits; the project and its function then stand behind the others."""
        functions = self._waiting[project]
        for function, queue in tuple(functions.items()):
            while queue and queue[0][1].done():
                queue.popleft()
            if queue and not self._fits(queue[0][0]):
                continue
            functions.pop(function)
            if queue:
                run, turn = queue.popleft()
                self._enter(run)
                turn.set_result(None)
            if queue:
                functions[function] = queue
            del self._waiting[project]
            if functions:
                self._waiting[project] = functions
            return True
        return False

    def _forgo(self, run: Run, turn: "asyncio.Future[None]") -> None:
        """Stop waiting; a turn that came in the same moment goes to the next."""
        if turn.done() and not turn.cancelled():
            self.give(run)
            return
        turn.cancel()
        functions = self._waiting.get(run.project, {})
        queue = functions.get(run.function)
        if queue is None:
            return
        with suppress(ValueError):
            queue.remove((run, turn))
        if not queue:
            del functions[run.function]
        if not functions:
            self._waiting.pop(run.project, None)


def _take_one(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
