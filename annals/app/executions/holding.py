"""Which requests wait a moment to be recorded together with their end.

Why, and what it costs: docs/adr/0032-a-short-call-is-one-append.md. Whose do not:
docs/adr/0034-long-calls-are-recorded-at-once.md.
"""

import asyncio
from collections import OrderedDict

from annals.domain.ports import Outcome, Run

HELD_SECONDS, SMALL_OUTPUT = 0.005, 8192
"""For how long a request may wait for its end, and for how many characters written."""

LONG_SECONDS = 2 * HELD_SECONDS
"""What took so long is not waited for the next time; more than the wait, since a busy machine is slow at times."""

REMEMBERED = 4096
"""Deployments."""


class Holding:
    """One per process: waits for what is short, and remembers of which deployments the last call was long."""

    def __init__(self) -> None:
        self._long: OrderedDict[str, None] = OrderedDict()

    async def ends_at_once(self, run: Run, running: "asyncio.Task[Outcome]") -> bool:
        """Whether the code answers, with little output, while its request may still wait for that."""
        if run.deployment in self._long:
            return False
        await asyncio.wait((running,), timeout=HELD_SECONDS)
        if not running.done() or running.exception() is not None:
            return False
        outcome = running.result()
        return not outcome.whole and len(outcome.logs) + len(outcome.errors) <= SMALL_OUTPUT

    def ran(self, run: Run, outcome: Outcome) -> None:
        """Learn how long a call took whose request was recorded before its end."""
        self._long.pop(run.deployment, None)
        if outcome.run_seconds > LONG_SECONDS:
            self._long[run.deployment] = None
            if len(self._long) > REMEMBERED:
                self._long.popitem(last=False)
