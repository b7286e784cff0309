"""The number of running executions of each function, read from the log: it never exceeds the function's limit."""

from collections.abc import Callable
from typing import Any

from annals.domain.execution import Execution
from annals.domain.function import Function

_NEW_SECONDS = 1.5
"""How long a worker may not know a function's first limit. Executions requested before that may start."""

_CALL_SECONDS = 30.0
"""The same for a synchronous execution, whose process may have been frozen after it read the limit."""


class Caps:
    """A check of each committed event; violations go to `fail`. `most_at_once` has the limit by function."""

    def __init__(self, fail: Callable[[str], None]) -> None:
        self._fail = fail
        self._most: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._function: dict[str, str] = {}
        self._asked: dict[str, float] = {}
        self._running: dict[str, set[str]] = {}
        self.most_at_once: dict[str, int] = {}

    def apply(self, event: Any, now: float) -> None:
        stream = event.originator_id
        match event:
            case Function.Created() | Function.Deleted():
                self._most.pop(stream, None)
            case Function.PolicyChanged():
                most = event.policy.scaling.concurrency
                if most and not self._most.get(stream):
                    self._since[stream] = now
                self._most[stream] = most
            case Execution.Requested():
                self._function[stream] = Function.stream(event.project_id, event.function_id)
                self._asked[stream] = now - (_CALL_SECONDS - _NEW_SECONDS if event.epoch else 0)
                if event.epoch:
                    self._begin(stream)
            case Execution.Claimed():
                self._begin(stream)
            case Execution.RetryScheduled() | Execution.Deleted():
                self._end(stream)
            case Execution.Completed() | Execution.Failed() | Execution.Canceled():
                self._end(stream)

    def _end(self, stream: str) -> None:
        self._running.get(self._function[stream], set()).discard(stream)

    def _begin(self, stream: str) -> None:
        function = self._function[stream]
        running = self._running.setdefault(function, set())
        running.add(stream)
        self.most_at_once[function] = max(self.most_at_once.get(function, 0), len(running))
        most = self._most.get(function, 0)
        known = self._asked[stream] >= self._since.get(function, 0.0) + _NEW_SECONDS
        if most and known and len(running) > most:
            self._fail(f"{stream} is concurrent execution {len(running)} of {function}, whose limit is {most}")
