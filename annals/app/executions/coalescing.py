"""Requests that wait a moment to be recorded together with their end.

Why so, and what it costs: docs/adr/0032-one-append-for-short-calls.md.
"""

import asyncio

from annals.domain.ports import Outcome

HELD_SECONDS, SMALL_OUTPUT = 0.005, 8192
"""For how long a request may wait for its end, and for how many characters written."""


async def ends_at_once(running: "asyncio.Task[Outcome]") -> bool:
    """Whether the code answers, with little output, while its request may still wait for that."""
    await asyncio.wait((running,), timeout=HELD_SECONDS)
    if not running.done() or running.exception() is not None:
        return False
    outcome = running.result()
    return not outcome.whole and len(outcome.logs) + len(outcome.errors) <= SMALL_OUTPUT
