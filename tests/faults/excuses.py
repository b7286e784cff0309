"""The failures of calls that a fault of a process explains."""

from collections.abc import Sequence
from typing import NamedTuple

from tests.faults.steady_load import Failure

AFTER_SECONDS = 30.0
"""The time after a fault in which calls may still fail; then the process is back and other processes know it."""

API = frozenset({"api1", "api2"})
EXCUSES = ((0, API), (503, frozenset({"postgres"})), (201, API | {"executor", "postgres"}))
"""The roles that explain a status. A connection breaks (0) when its API process dies. Calls answer 503 while Postgres
is down. A synchronous execution fails (201) with its executor, its API process or Postgres."""


class Fault(NamedTuple):
    """A fault of a process, with its begin and end by the monotonic clock."""

    role: str
    began: float
    ended: float


def unexcused(failures: Sequence[Failure], faults: Sequence[Fault]) -> list[str]:
    """Return the descriptions of failures that no fault explains."""
    return [failure.text for failure in failures if not any(_excuses(fault, failure) for fault in faults)]


def _excuses(fault: Fault, failure: Failure) -> bool:
    near = fault.began <= failure.at <= fault.ended + AFTER_SECONDS
    return near and any(failure.status == status and fault.role in roles for status, roles in EXCUSES)
