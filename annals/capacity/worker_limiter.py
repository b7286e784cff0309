"""How much work a process may hold, asked before a wake-up leaves the queue: what can't be done here stays there."""

import threading
import time
from collections import Counter
from collections.abc import Callable

PACE_SECONDS, PACE_PLACES = 0.02, 4
"""While the host is pressed, places are given out so seldom and so few: 200 a second, whatever is in hand."""


class WorkerLimiter:
    """Capacity shared by the thread that fetches wake-ups and the loop that does the work.

    With a `lane_limit`, no lane (a project) has more than so many of the places. `released` counts the places
    that lanes gave back. While `pressed`, places are given out at a pace that leaves the processor to others.
    `drained` says that the queue held nothing for this process when it was last looked into.
    """

    def __init__(self, limit: int, tenant_limit: int = 0, *, pressed: Callable[[], bool] = lambda: False) -> None:
        self._limit, self.tenant_limit, self._pressed = limit, tenant_limit or limit, pressed
        self._free = limit
        self.released = 0
        self.drained = False
        self._tenants: Counter[str] = Counter()
        self._closed = False
        self._changed = threading.Condition()

    def reserve(self, most: int, wait_seconds: float) -> int:
        """Take up to `most` places, waiting a moment while there is none; 0 when that did not help, or when closed."""
        if self._pressed():
            time.sleep(PACE_SECONDS)
            most = min(most, PACE_PLACES)
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0 or self._closed, wait_seconds)
            taken = 0 if self._closed else min(most, self._free)
            self._free -= taken
            return taken

    def enter(self, tenant: str) -> bool:
        """Take a place for what did not come through the queue: only while nothing that did has to wait for one."""
        if not self.drained or self._pressed():
            return False
        with self._changed:
            if self._closed or self._free <= 0 or self._tenants[tenant] >= self.tenant_limit:
                return False
            self._free -= 1
            self._tenants[tenant] += 1
            return True

    def occupy(self, tenant: str) -> None:
        """Say which lane a reserved place is for."""
        with self._changed:
            self._tenants[tenant] += 1

    def allowed(self) -> dict[str, int]:
        """How many more places each lane may have that has some."""
        with self._changed:
            return {tenant: self.tenant_limit - count for tenant, count in self._tenants.items()}

    @property
    def at_limit(self) -> bool:
        """Whether a lane has all the places that one may have, so that what it left in the queue waits for one."""
        with self._changed:
            return any(count >= self.tenant_limit for count in self._tenants.values())

    def release(self, places: int = 1, tenant: str = "") -> None:
        """Give places back; a `lane` gives back one that it occupied, if it did."""
        with self._changed:
            self._free += places
            self.released += 1 if tenant else 0
            if self._tenants[tenant] > 1:
                self._tenants[tenant] -= 1
            else:
                del self._tenants[tenant]
            self._changed.notify()

    def close(self) -> None:
        """Let nothing more in; what is inside goes on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def busy(self) -> int:
        """Places taken."""
        return self._limit - self._free
