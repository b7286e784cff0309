"""Credentials that were valid a moment ago: with these, reads begin before the request is authenticated."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

MOST_KNOWN = 10_000
KNOWN_SECONDS = 60.0
"""How many valid credentials are remembered, and for how long after each use."""


class KnownCredentials:
    """Credentials that were valid a moment ago. One per process.

    They decide only when reads begin: each request is still authenticated.
    """

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
