"""Fair sharing of build slots: the waiting builds that may start."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.store.log.build_demand import SHORT_SECONDS, BuildDemand, Tenant

LONG = SHORT_SECONDS + 1


def tenant(project: str, running: int = 0, *, waits: bool = True, since: int = 0, seconds: int = LONG) -> Tenant:
    return Tenant(project, running, f"deployment:{project}:d" if waits else "", since, seconds)


def started(*tenants: Tenant, slots: int = 2, reserve: int = 1) -> list[str]:
    return [tenant.project_id for tenant in BuildDemand(tenants, slots, reserve).startable()]


def test_project_that_is_alone_uses_every_slot_and_not_the_reserve() -> None:
    assert started(tenant("a", 0)) == ["a"]
    assert started(tenant("a", 1)) == ["a"]
    assert started(tenant("a", 2)) == []


def test_two_long_builds_of_one_project_leave_the_reserve_to_another_projects_long_build() -> None:
    assert started(tenant("a", 2), tenant("b", 0)) == ["b"]
    assert started(tenant("a", 2), tenant("b", 1)) == []


def test_reserve_is_for_short_builds_while_no_project_has_more_than_half() -> None:
    both = tenant("a", 1), tenant("b", 1)
    assert started(*both, tenant("c", 0, seconds=LONG)) == []
    assert started(*both, tenant("c", 0, seconds=SHORT_SECONDS)) == ["c"]
    assert started(*both, tenant("c", 0, since=1), tenant("d", 0, since=2, seconds=0)) == ["d"]


def test_without_a_reserve_a_later_project_is_next_when_a_build_ends() -> None:
    assert started(tenant("a", 2), tenant("b", 0, since=9), reserve=0) == []
    assert started(tenant("a", 1), tenant("b", 0, since=9), reserve=0) == ["b"]


def test_project_with_the_fewest_running_builds_is_first_then_the_earliest() -> None:
    waiting = tenant("a", 1, since=1), tenant("b", 0, since=3), tenant("c", 0, since=2)
    assert started(*waiting, slots=4, reserve=0) == ["c", "b", "a"]
    assert started(*waiting, slots=3, reserve=0) == ["c", "b"]


@pytest.mark.parametrize(("slots", "most"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_project_gets_at_most_half_of_the_slots_while_another_waits(slots: int, most: int) -> None:
    demand = BuildDemand((tenant("a"), tenant("b")), slots, 0)
    counts = {"a": 0, "b": 0}
    while (following := demand.startable()) and sum(counts.values()) < slots:
        project = following[0].project_id
        counts[project] += 1
        demand = demand.with_one_more(project)
    assert sum(counts.values()) == slots
    assert max(counts.values()) <= most


TENANTS = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 200)), max_size=8).map(
    lambda rows: [tenant(f"p{n}", r, waits=w, since=n, seconds=s) for n, (r, w, s) in enumerate(rows)]
)


@given(TENANTS, st.integers(1, 8), st.integers(0, 3))
def test_no_slot_stays_free_while_a_build_waits_and_none_is_given_twice(
    tenants: list[Tenant], slots: int, reserve: int
) -> None:
    demand = BuildDemand(tenants, slots, reserve)
    running = sum(t.running for t in tenants)
    waiting = [t for t in tenants if t.waiting]

    begun = demand.startable()

    assert len(begun) >= min(len(waiting), slots - running)
    assert len(begun) <= max(0, slots + reserve - running)
    for number, one in enumerate(begun):
        in_reserve = running + number >= slots
        assert not (in_reserve and one.running)
        assert demand.admits(one.project_id)
    assert all(not demand.admits(t.project_id) for t in waiting if t not in begun)


@given(TENANTS, st.integers(1, 8), st.integers(0, 3))
def test_project_with_fewer_running_builds_never_waits_for_one_with_more(
    tenants: list[Tenant], slots: int, reserve: int
) -> None:
    begun = BuildDemand(tenants, slots, reserve).startable()

    left = [t for t in tenants if t.waiting and t not in begun]
    assert all(one.running <= other.running for one in begun for other in left if one.running)
