"""An event loop with simulated time that draws the next step from a seed. Its nodes can be killed and frozen."""

import asyncio
import contextvars
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

NODE: contextvars.ContextVar["Node | None"] = contextvars.ContextVar("simulated_node", default=None)


class Deadlock(Exception):
    """No callback is ready and no timer is left: the waiting tasks would wait forever."""


class Livelock(Exception):
    """The run took more steps than any scenario needs."""


class Node:
    """A simulated process. All its tasks carry it in their context, and stop or wait with it."""

    def __init__(self, loop: "SimulatedLoop", name: str) -> None:
        self.loop, self.name = loop, name
        self.alive, self.frozen = True, False
        self.waiting: list[asyncio.Handle] = []
        self.ended: list[Callable[[], None]] = []
        self.context = contextvars.copy_context()
        self.context.run(NODE.set, self)

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        return self.loop.create_task(work, context=self.context)

    def kill(self) -> None:
        """Kill the node as SIGKILL does: no code of it runs again, also no `finally`, and its connections break."""
        self.alive = False
        self.waiting.clear()
        for tell in self.ended:
            tell()

    def freeze(self) -> None:
        """Freeze the node as SIGSTOP does."""
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False
        self.loop.ready.extend(self.waiting)
        self.waiting.clear()


def _nothing() -> None:
    return


class Turn(asyncio.Handle):
    """A ready callback without the debugging data of the real handle, since a scenario makes thousands."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> None:
        self._callback, self._args, self._cancelled = callback, args, False
        self._context = contextvars.copy_context() if context is None else context

    def cancel(self) -> None:
        self._cancelled = True
        self._callback, self._args = _nothing, ()


class Timer(asyncio.TimerHandle):
    """A timer without the debugging data of the real handle."""

    __slots__ = ()

    def __init__(
        self, when: float, callback: Callable[..., Any], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> None:
        self._when, self._callback, self._args, self._cancelled = when, callback, args, False
        self._context = contextvars.copy_context() if context is None else context

    def cancel(self) -> None:
        self._cancelled = True
        self._callback, self._args = _nothing, ()


class SimulatedLoop(asyncio.BaseEventLoop):
    """`chaos` is how often ready callbacks run out of order. A real loop keeps the order, but real IO ends in any
    order.

    There are no threads: work for a thread runs a moment later in one step. `steps_limit` bounds a run.
    """

    def __init__(self, rng: random.Random, *, chaos: float, steps_limit: int = 400_000) -> None:
        super().__init__()
        self._rng, self._chaos, self._limit = rng, chaos, steps_limit
        self._now = 0.0
        self.steps = 0
        self.ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._number = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self.broke: Callable[[str], None] = lambda _sentence: None

    def time(self) -> float:
        return self._now

    def stop_now(self) -> None:
        """End `run_until_complete` after this step."""
        self._stopping = True

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: object = None, context: contextvars.Context | None = None
    ) -> "asyncio.Task[T]":
        task = asyncio.Task(coro, loop=self, context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        # keep a reference: a collected coroutine of a dead node would run during the scenario
        self.tasks.append(task)
        return task

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        turn = Turn(callback, args, context)
        self.ready.append(turn)
        return turn

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = Timer(when, callback, args, context)
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, timer))
        return timer

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self.call_later(self._rng.random() * 0.002, work)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Raise an exception of a callback, but ignore results of dead nodes that nothing awaits."""
        if "handle" in context:
            self.broke(f"{context['message']}: {context.get('exception')!r}")

    def _write_to_self(self) -> None:
        return

    def _run_once(self) -> None:
        """Run all callbacks until the loop is stopped. A check after each callback would double the cost."""
        ready, timers, rng, chaos = self.ready, self._timers, self._rng, self._chaos
        while not self._stopping:
            if not ready:
                self._advance()
            while timers and (timers[0][0] <= self._now or timers[0][2]._cancelled):
                timer = heapq.heappop(timers)[2]
                if not timer._cancelled:
                    ready.append(timer)
            if not ready:
                continue
            if len(ready) > 1 and rng.random() < chaos:
                at = rng.randrange(len(ready))
                turn = ready[at]
                del ready[at]
            else:
                turn = ready.popleft()
            if not turn._cancelled:
                self._take(turn)

    def _take(self, turn: asyncio.Handle) -> None:
        context = turn._context  # type: ignore[attr-defined]
        node = context.get(NODE)
        if node is not None and (not node.alive or node.frozen):
            if node.alive:
                node.waiting.append(turn)
            return
        self.steps += 1
        if self.steps > self._limit:
            raise Livelock(f"still busy after {self.steps} steps, at {self._now:.1f} s")
        try:
            context.run(turn._callback, *turn._args)  # type: ignore[attr-defined]
        except Exception as error:
            message = f"Exception in callback {turn._callback!r}"  # type: ignore[attr-defined]
            self.call_exception_handler({"message": message, "exception": error, "handle": turn})

    def _advance(self) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            raise Deadlock(f"nothing can happen any more, at {self._now:.1f} s")
        self._now = max(self._now, timers[0][0])
