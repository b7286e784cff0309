"""A soak run forgives the failures that a fault explains, and no others."""

import pytest

from tests.faults.steady_load import AFTER_SECONDS, Failure, Fault, unexcused


@pytest.mark.parametrize(
    ("status", "role", "forgiven"),
    [
        (0, "api2", True),
        (0, "worker1", False),
        (0, "postgres", False),
        (503, "postgres", True),
        (503, "api1", False),
        (201, "executor", True),
        (201, "keeper", False),
        (500, "postgres", False),
        (500, "api1", False),
    ],
)
def test_failure_is_forgiven_near_a_fault_that_explains_it(*, status: int, role: str, forgiven: bool) -> None:
    fault = Fault(role, began=100, ended=106)

    for at, near in ((99, False), (100, True), (106 + AFTER_SECONDS, True), (107 + AFTER_SECONDS, False)):
        found = unexcused([Failure(at, status, "failed")], [fault])
        assert found == ([] if near and forgiven else ["failed"])
