"""Delays the answers to wrong API keys: each further wrong key of a network waits longer, up to a limit."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from annals.app.identity.client_addresses import network_of
from annals.domain.errors import RateLimited

FREE = 10
FIRST_SECONDS = 0.1
LONGEST_SECONDS = 2.0
"""How many wrong keys a network may send without a delay, and the next one's delay, which doubles up to a limit."""

FORGOTTEN_SECONDS = 60.0
"""How long after its last wrong key a network has no delay any more."""

MOST_NETWORKS = 4096
MOST_WAITING = 64
"""How many networks are remembered, and how many requests of one network are delayed at the same time."""


class _Failures:
    """The wrong keys of one network."""

    __slots__ = ("count", "last", "waiting")

    def __init__(self) -> None:
        self.count = 0
        self.waiting = 0
        self.last = 0.0


class WrongKeyDelay:
    """Delays the answers to wrong keys by network, never the answers to valid keys. One per process."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._networks: OrderedDict[str, _Failures] = OrderedDict()

    async def delay(self, address: str) -> None:
        """Delay the answer to a wrong key. Raises RateLimited if too many answers of the network wait."""
        failures = self._count(network_of(address))
        if failures.count <= FREE:
            return
        if failures.waiting >= MOST_WAITING:
            raise RateLimited(
                "Too many requests with a wrong API key. Check the key and try again later.",
                retry_after=round(LONGEST_SECONDS),
            )
        failures.waiting += 1
        try:
            await self._sleep(min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(failures.count - FREE - 1, 30)))
        finally:
            failures.waiting -= 1

    def _count(self, network: str) -> _Failures:
        failures, now = self._networks.setdefault(network, _Failures()), self._clock()
        self._networks.move_to_end(network)
        if now - failures.last > FORGOTTEN_SECONDS:
            failures.count = 0
        failures.count, failures.last = failures.count + 1, now
        if len(self._networks) > MOST_NETWORKS:
            self._networks.popitem(last=False)
        return failures
