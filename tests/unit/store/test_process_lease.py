"""A process keeps its name while it sends heartbeats, and takes another name after others judged it lost."""

from annals.store.coordination.leases import NO_BUILDS, BuildSlots, Leases, ProcessLease


class FakeLeases(Leases):
    def __init__(self) -> None:
        self.rows: dict[str, int] = {}

    async def beat(self, holder: str, role: str, *, doing: str = "", builds: BuildSlots = NO_BUILDS) -> int:
        self.rows[holder] = self.rows.get(holder, 0) + 1
        return self.rows[holder]

    async def leave(self, holder: str) -> None:
        self.rows.pop(holder, None)


async def test_process_keeps_its_name_while_it_sends_heartbeats() -> None:
    leases = FakeLeases()
    process_lease = ProcessLease(leases, "worker", lease_seconds=10)
    name = process_lease.id

    for _ in range(3):
        await process_lease.enter()

    assert process_lease.id == name
    assert leases.rows == {name: 3}


async def test_process_whose_lease_was_taken_gets_another_name() -> None:
    leases = FakeLeases()
    process_lease = ProcessLease(leases, "worker", lease_seconds=10)
    await process_lease.enter()
    former = process_lease.id
    leases.rows.clear()

    await process_lease.enter()
    await process_lease.enter()

    assert process_lease.id != former
    assert leases.rows == {process_lease.id: 2}


async def test_lease_is_removed_when_its_process_leaves() -> None:
    leases = FakeLeases()
    process_lease = ProcessLease(leases, "worker", lease_seconds=10)
    await process_lease.enter()

    await process_lease.leave()

    assert leases.rows == {}
