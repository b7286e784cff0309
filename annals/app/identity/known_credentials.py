"""Credentials as this process has judged them lately: good ones may read early, bad ones pay a delay for each try."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable

from annals.app.edge.client_addresses import network_of
from annals.domain.errors import RateLimited

MOST_KNOWN, KNOWN_SECONDS = 10_000, 60.0
"""How many good credentials are remembered, and for how long after each use."""

FREE, FIRST_SECONDS, LONGEST_SECONDS = 10, 0.1, 2.0
"""How many wrong keys an address may send without a delay, and the delay of the next one, which doubles to a limit."""

FORGOTTEN_SECONDS = 60.0
"""How long after its last wrong key an address is as any other."""

MOST_NETWORKS, MOST_WAITING = 4096, 64
"""How many addresses are remembered, and how many requests of one are held back at once."""


class KnownCredentials:
    """One per process. What is remembered only decides when reads begin: each request is judged all the same."""

    def __init__(self, *, most: int = MOST_KNOWN, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._until: OrderedDict[Hashable, float] = OrderedDict()

    def __contains__(self, credential: Hashable) -> bool:
        return self._until.get(credential, 0.0) > self._clock()

    def add(self, credential: Hashable) -> None:
        self._until[credential] = self._clock() + KNOWN_SECONDS
        self._until.move_to_end(credential)
        if len(self._until) > self._most:
            self._until.popitem(last=False)

    def discard(self, credential: Hashable) -> None:
        self._until.pop(credential, None)


class _Failures:
    """The wrong keys of one address."""

    __slots__ = ("count", "last", "waiting")

    def __init__(self) -> None:
        self.count, self.waiting, self.last = 0, 0, 0.0


class FailedKeys:
    """One per process. The answer to a wrong key is held back; requests with right keys from there are not."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._networks: OrderedDict[str, _Failures] = OrderedDict()

    async def pay(self, address: str) -> None:
        """Hold back the answer to a wrong key. Raises RateLimited if too many of this address are held back already."""
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
