"""The demand for build slots, and their fair sharing between projects: which waiting builds may start now.

A build cannot be suspended. A project that is alone may use all slots, so there is a reserve for a project that comes
later. Why this policy, which is pure: docs/adr/0040-build-slots-are-shared-fairly.md.
"""

from collections.abc import Sequence
from typing import NamedTuple

from annals.store.postgres import sql
from annals.store.postgres.database import Database, Row

QUERIES = sql.load(__package__, "build_demand.sql")
SHORT_SECONDS = 60
"""A build counts as short if its function's recent builds took no longer, or if it is the function's first build."""


class Tenant(NamedTuple):
    """A project that builds or waits to build.

    `waiting` is the stream of its oldest waiting build, empty for none; `since` is its position by arrival;
    `seconds` is the duration of the longest recent build of its function.
    """

    project_id: str
    running: int = 0
    waiting: str = ""
    since: int = 0
    seconds: int = 0

    @property
    def short(self) -> bool:
        return self.seconds <= SHORT_SECONDS


class BuildDemand(NamedTuple):
    """All builds of an instance, and the slots of its workers: `slots`, and `reserve` beyond them."""

    tenants: Sequence[Tenant]
    slots: int
    reserve: int

    def startable(self) -> list[Tenant]:
        """Return the tenants whose oldest build may start, in the order in which they start."""
        started: list[Tenant] = []
        demand = self
        while (tenant := demand._next()) is not None:
            started.append(tenant)
            demand = demand._after(tenant)
        return started

    def admits(self, project_id: str) -> bool:
        """Return True if a build of the project may start."""
        return any(tenant.project_id == project_id for tenant in self.startable())

    def with_one_more(self, project_id: str) -> "BuildDemand":
        """Return the demand after one more build of the project started. Its other waiting builds are not known."""
        return self._replace(
            tenants=[t._replace(running=t.running + (t.project_id == project_id)) for t in self.tenants]
        )

    def _after(self, started: Tenant) -> "BuildDemand":
        running = started._replace(running=started.running + 1, waiting="")
        return self._replace(tenants=[running if t == started else t for t in self.tenants])

    def _next(self) -> Tenant | None:
        """Return the tenant that starts next: the fewest running builds first, then the order of arrival."""
        waiting = sorted((t for t in self.tenants if t.waiting), key=lambda t: (t.running, t.since))
        running = sum(t.running for t in self.tenants)
        if running < self.slots:
            return next(iter(waiting), None)
        if running >= self.slots + self.reserve:
            return None
        at_limit = any(t.running > max(1, self.slots // 2) for t in self.tenants)
        return next((t for t in waiting if not t.running and (t.short or at_limit)), None)


async def read_demand(database: Database) -> BuildDemand:
    """Return the present demand. The append that claims a slot reads it again and decides."""
    return demand_of(await database.rows(QUERIES["demand"]))


def demand_of(rows: Sequence[Row]) -> BuildDemand:
    """Return the demand that rows of the query `demand` hold."""
    tenants = [
        Tenant(row["project_id"], row["running"], row["waiting"], number, row["seconds"])
        for number, row in enumerate(rows)
        if row["project_id"]
    ]
    return BuildDemand(tenants, rows[0]["slots"], rows[0]["reserve"]) if rows else BuildDemand((), 1, 0)
