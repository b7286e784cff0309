"""The runtimes that work on this instance: those of the catalogue that an executor serves."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from annals.domain.runtimes import RUNTIMES, split

FRESH_SECONDS = 10.0
"""Seconds for which an answer of the executors is used again."""

ANSWER_SECONDS = 2.0


class Available:
    """Asks the executors at most every FRESH_SECONDS. `ask` returns a sentence in place of an executor that is
    unreachable."""

    def __init__(self, ask: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        self._ask = ask
        self._known: tuple[frozenset[str], str] | None = None
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def runtimes(self) -> frozenset[str] | None:
        """Return the ids that an executor can build and run, or None if no executor answers."""
        known = await self._now()
        return None if known is None else known[0]

    async def lack(self, runtime: str) -> str:
        """Return why a runtime does not work here. The text is empty if it works or if no executor answers."""
        known = await self._now()
        if known is None or runtime in known[0]:
            return ""
        return (
            f"The runtime {runtime} is accepted, but its builds fail on this instance: the {known[1]} driver serves"
            f" {', '.join(sorted(known[0])) or 'none'}."
        )

    async def _now(self) -> tuple[frozenset[str], str] | None:
        if time.monotonic() < self._until:
            return self._known
        async with self._asking:
            if time.monotonic() >= self._until:
                self._known = await self._ask_executors()
                self._until = time.monotonic() + FRESH_SECONDS
        return self._known

    async def _ask_executors(self) -> tuple[frozenset[str], str] | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found = [status for status in (await self._ask()).values() if not isinstance(status, str)]
        except TimeoutError:
            return None
        if not found:
            return None
        served = {split(runtime) for status in found for runtime in status.runtimes}
        return frozenset(id for id in RUNTIMES if split(id) in served), found[0].driver  # noqa: A001
