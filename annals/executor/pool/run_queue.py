"""The queue of runs on a host: how many run at once in all, of a project and of a function, and which run starts next.

A run waits before it takes an instance. Projects take turns, and so do the functions of a project. So a project with
many runs does not delay other projects, and a function at its limit delays no other function.
"""

import asyncio
from collections import Counter, deque
from contextlib import suppress
from typing import TypeVar

from annals.domain.ports import Run

Function = tuple[str, str]
K = TypeVar("K")

_Waiting = tuple[Run, "asyncio.Future[None]"]


class QueueTimeout(Exception):
    """The run could not start in time."""


class RunQueue:
    """Bounds the runs of a host: `most` at once, `most_of_project` of each project, `concurrency` of a run's function.

    Single-threaded: every method runs on the event loop.
    """

    def __init__(self, most: int, most_of_project: int) -> None:
        self._most = most
        self._most_of_project = most_of_project
        self._all = 0
        self._of_projects: Counter[str] = Counter()
        self._of_functions: Counter[Function] = Counter()
        self._waiting: dict[str, dict[str, deque[_Waiting]]] = {}

    @property
    def waiting(self) -> int:
        """The number of runs that have not started."""
        return sum(len(queue) for functions in self._waiting.values() for queue in functions.values())

    async def start(self, run: Run) -> None:
        """Wait until the run may start; `end` it later. Raises QueueTimeout after the run's `queue_seconds`."""
        if self._fits(run) and run.function not in self._waiting.get(run.project, {}):
            self._count(run)
            return
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run.project, {}).setdefault(run.function, deque()).append((run, started))
        try:
            async with asyncio.timeout(run.queue_seconds):
                await started
        except TimeoutError:
            self._give_up(run, started)
            raise QueueTimeout(f"No turn came within {run.queue_seconds:g} seconds: {self._reason(run)}.") from None
        except asyncio.CancelledError:
            self._give_up(run, started)
            raise

    def end(self, run: Run) -> None:
        """End a run, and start those that may run now."""
        self._all -= 1
        _decrement(self._of_projects, run.project)
        _decrement(self._of_functions, (run.project, run.function))
        self._start_waiting()

    def _fits(self, run: Run) -> bool:
        return (
            self._all < self._most
            and self._of_projects[run.project] < self._most_of_project
            and (not run.concurrency or self._of_functions[run.project, run.function] < run.concurrency)
        )

    def _reason(self, run: Run) -> str:
        if run.concurrency and self._of_functions[run.project, run.function] >= run.concurrency:
            return f"the function runs as many calls at once as its policy allows ({run.concurrency})"
        return "the host runs as many calls at once as it may"

    def _count(self, run: Run) -> None:
        self._all += 1
        self._of_projects[run.project] += 1
        self._of_functions[run.project, run.function] += 1

    def _start_waiting(self) -> None:
        """Start runs while any fits, one of each project and function in turn."""
        while self._waiting and any(self._start_next(project) for project in tuple(self._waiting)):
            pass

    def _start_next(self, project: str) -> bool:
        """Start the project's next run that fits, and move the project and the function behind the others."""
        functions = self._waiting[project]
        for function, queue in tuple(functions.items()):
            while queue and queue[0][1].done():
                queue.popleft()
            if queue and not self._fits(queue[0][0]):
                continue
            functions.pop(function)
            if queue:
                run, started = queue.popleft()
                self._count(run)
                started.set_result(None)
            if queue:
                functions[function] = queue
            del self._waiting[project]
            if functions:
                self._waiting[project] = functions
            return True
        return False

    def _give_up(self, run: Run, started: "asyncio.Future[None]") -> None:
        """Stop waiting. A run that was started in the same moment ends, and the next one starts."""
        if started.done() and not started.cancelled():
            self.end(run)
            return
        started.cancel()
        functions = self._waiting.get(run.project, {})
        queue = functions.get(run.function)
        if queue is None:
            return
        with suppress(ValueError):
            queue.remove((run, started))
        if not queue:
            del functions[run.function]
        if not functions:
            self._waiting.pop(run.project, None)


def _decrement(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
