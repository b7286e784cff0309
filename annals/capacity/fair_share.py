"""The policy of fair sharing between projects: may a project's request start now, given what all want?

Why, and why not otherwise: docs/adr/0031-fair-sharing.md; for the numbers docs/adr/0033-even-shares.md.
"""

from collections import Counter
from typing import Protocol

from annals.capacity.limiter import decrement
from annals.capacity.shared_memory import ProcessDemand

FEW = 2
"""Running requests that a project may have in a process while other projects called a moment ago, but want nothing."""

LONGEST_REST_SECONDS = 0.02
"""The longest rest of a project between two of its requests while other projects want something."""


class HostActivity(Protocol):
    """What the policy knows of the host; `TenantActivity` reads it from shared memory."""

    def is_contended(self, project_id: str) -> bool:
        """Return True if another project called a moment ago."""

    def others_demand(self, project_id: str) -> int:
        """Return how many requests of other projects the host has, this process's included."""

    def running_elsewhere(self, project_id: str) -> int:
        """Return how many requests of the project run in other processes."""


class FairShare:
    """The requests of one process by project, and the decision which may start.

    - A project alone on its host starts as many requests as it wants.
    - While others want something, a project runs no more on the whole host than all others want together.
    - While others called a moment ago but want nothing, it runs at most `few` in each process.
    - One request in each process may always run, so every project makes progress.

    So a project with many requests waits for itself, and a project with few requests starts at once. While others want
    something, a project with waiting requests rests after each for as long as that took, `longest_rest` at most.

    A request is added, then started, then ended; a request that is given up before it starts is removed.
    """

    def __init__(self, host: HostActivity, few: int = FEW, longest_rest: float = LONGEST_REST_SECONDS) -> None:
        self._host = host
        self._few = few
        self._longest_rest = longest_rest
        self._running: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._all_requests = 0
        self._busiest = ""

    def add(self, project_id: str) -> None:
        """Count a request that arrived."""
        self._all_requests += 1
        self._requests[project_id] += 1
        if self._requests[project_id] >= self._requests[self._busiest]:
            self._busiest = project_id

    def may_start(self, project_id: str, least: int = 1) -> bool:
        """Return True if one more request of the project may start; always while fewer than `least` run here."""
        running = self._running[project_id]
        if running < least or not self._host.is_contended(project_id):
            return True
        others_demand = self._host.others_demand(project_id)
        if not others_demand:
            return running < self._few
        return running + self._host.running_elsewhere(project_id) < others_demand

    def start(self, project_id: str) -> None:
        """Count a request as running."""
        self._running[project_id] += 1

    def end(self, project_id: str) -> None:
        """Forget a request that ran."""
        decrement(self._running, project_id)
        self.remove(project_id)

    def remove(self, project_id: str) -> None:
        """Forget a request that was given up before it started."""
        self._all_requests -= 1
        decrement(self._requests, project_id)

    def rest_seconds(self, project_id: str, worked: float) -> float:
        """Return how long the project waits after a request that took `worked` seconds before its next one starts."""
        rest = min(worked, self._longest_rest)
        if rest and self._host.is_contended(project_id) and self._host.others_demand(project_id):
            return rest
        return 0.0

    def is_busiest(self, project_id: str) -> bool:
        """Return True for the project whose numbers `demand` shows."""
        return project_id == self._busiest

    def demand(self) -> ProcessDemand:
        """Return what this process has to do, for the other processes of the host."""
        busiest = self._busiest
        return ProcessDemand(self._all_requests, busiest, self._requests[busiest], self._running[busiest])
