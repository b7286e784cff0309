"""A hostile project beside a quiet one: the quiet project never fails, and each abuse ends at its limit."""

from collections.abc import Iterator

import pytest

from tests.instance import instance_of_its_own
from tests.neighbours import ABUSES, PROXY, Neighbours

BUILD_SECONDS = 25
"""The time limit of the abusive builds: far longer than a short build, and short enough for a test."""

GUEST_KEYS = 200
CALLS = 20


@pytest.fixture(scope="module")
def neighbours() -> Iterator[Neighbours]:
    settings = {
        "ANNALS_TRUSTED_PROXIES": PROXY,
        "ANNALS_BUILD_TIMEOUT_S": str(BUILD_SECONDS),
        "ANNALS_IDEMPOTENCY_GUEST_KEYS": str(GUEST_KEYS),
    }
    with instance_of_its_own(**settings) as instance:
        yield Neighbours(instance)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("abuse", sorted(ABUSES))
def test_quiet_project_never_fails_beside_a_hostile_one(neighbours: Neighbours, abuse: str) -> None:
    neighbours.prepare(abuse)
    with neighbours.beside(abuse) as running:
        neighbours.build()
        running.collect()
        waited = abuse == "builds" and running.ends.total() > 0
        assert not waited, "the quiet project's build waited for the end of a hostile build"
        for _ in range(CALLS):
            neighbours.call()
        running.wait_for_bound()
