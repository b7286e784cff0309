"""Planted bugs in the sharing of build slots."""

from contextlib import AbstractContextManager
from unittest import mock

from annals.store.log.build_demand import BuildDemand, Tenant
from tests.simulation.mutations import found_by


@found_by("long_builds_of_one_project_meet_those_of_another")
def builds_start_by_age() -> AbstractContextManager[object]:
    """The oldest builds get the slots, whichever project they belong to."""

    def startable(self: BuildDemand) -> list[Tenant]:
        free = self.slots - sum(tenant.running for tenant in self.tenants)
        return sorted((t for t in self.tenants if t.waiting), key=lambda t: t.since)[: max(0, free)]

    return mock.patch.object(BuildDemand, "startable", startable)


@found_by("long_builds_of_one_project_meet_those_of_another")
def build_slots_are_not_counted_at_the_claim() -> AbstractContextManager[object]:
    """A build takes a slot that was free when the worker looked, even if another build has taken it meanwhile."""
    return mock.patch.object(BuildDemand, "admits", return_value=True)
