"""How long work may stay open after the last fault: never longer than the settings allow."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from annals.application.executions.claimed import QUEUE_SECONDS
from annals.store.log.build_demand import demand_of
from annals.workers.builds import OVERTIME_SECONDS
from annals.workers.executions import TRANSPORT_SLACK_SECONDS
from annals.workers.job_messages import BUILDS, EXECUTIONS
from tests.simulation.clients import TIMEOUT
from tests.simulation.nodes import BUILD_SECONDS, LEASE_SECONDS
from tests.simulation.statements_work import build_demand, full
from tests.simulation.transactions import Row, Tx

if TYPE_CHECKING:
    from tests.simulation.world import World

_GRACE_SECONDS = 30.0
_MOMENT_SECONDS = 3.0
"""The time to stop work that hangs and to record its end."""

UNHELD_SECONDS = LEASE_SECONDS + _GRACE_SECONDS
"""The limit of work that waits or whose holder is dead: docs/guarantees.md, G2."""

HELD_SECONDS = {
    EXECUTIONS: TIMEOUT + TRANSPORT_SLACK_SECONDS + QUEUE_SECONDS + _MOMENT_SECONDS,
    BUILDS: BUILD_SECONDS + OVERTIME_SECONDS + _MOMENT_SECONDS,
}
"""The limit of work that a living process holds: it may hang in the executor until the process times out."""


class Stay(NamedTuple):
    """An open execution or build under one claim or without a claim. Each claim has its own limit."""

    queue: str
    stream: str
    epoch: int
    status: str
    held: bool

    @property
    def limit(self) -> float:
        return HELD_SECONDS[self.queue] if self.held else UNHELD_SECONDS


class Stays:
    """The time at which each open execution or build was first seen after the last fault."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._since: dict[Stay, float] = {}

    def too_long(self) -> list[str]:
        """Return a sentence for each execution or build that is open for longer than its limit."""
        now = self._world.loop.time()
        self._since = {stay: self._since.get(stay, now) for stay in self._open()}
        return [
            f"stuck: {stay.stream} is {stay.status} (epoch {stay.epoch}) for more than {stay.limit:g} s"
            for stay, since in self._since.items()
            if now - since > stay.limit
        ]

    def _open(self) -> Iterator[Stay]:
        """Yield all open work except work that waits for a free slot."""
        transaction = Tx(self._world.server)
        startable = {tenant.waiting for tenant in demand_of(build_demand(transaction, ())).startable()}
        for queue, stream, row in open_work(self._world):
            waits = row["status"] in {"waiting", "scheduled"}
            at_limit = full(transaction, row) if queue == EXECUTIONS else stream not in startable
            if not waits or not (self._no_dispatcher(queue) or at_limit):
                yield Stay(queue, stream, row["epoch"], row["status"], not waits and self._lives(row["worker"]))

    def _lives(self, holder: str) -> bool:
        return any(node.alive and process_lease.id == holder for node, process_lease in self._world.process_leases)

    def _no_dispatcher(self, queue: str) -> bool:
        dispatchers = self._world.queue.dispatchers
        return bool(dispatchers) and all(dispatcher.full(queue) for dispatcher in dispatchers)


def open_work(world: "World") -> Iterator[tuple[str, str, Row]]:
    """Yield the executions and builds that should end now: their queue, stream and row."""
    now = world.server.now()
    for stream, row in world.server.rows("executions").items():
        status, retry_at = row["status"], row["retry_at"]
        if (
            status == "processing"
            or (status == "waiting" and (retry_at is None or retry_at <= now))
            or (status == "scheduled" and row["scheduled_at"] <= now)
        ):
            yield EXECUTIONS, stream, row
    for stream, row in world.server.rows("deployments").items():
        queued = row["status"] == "waiting" and row["queued_at"] is not None
        if queued or row["status"] in {"processing", "building"}:
            yield BUILDS, stream, row
