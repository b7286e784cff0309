"""Which calls may fail because of what was just done to a process, and why no others may."""

from collections.abc import Sequence
from typing import NamedTuple

from tests.faults.calling import Failure

AFTER_SECONDS = 30.0
"""How long after a fault a call may still tell of it: its process is back by then, and others have noticed."""

API = frozenset({"api1", "api2"})
EXCUSES = ((0, API), (503, frozenset({"postgres"})), (201, API | {"executor", "postgres"}))
"""A connection breaks with the process that serves it, 503 is said while Postgres is away, and a call that waits for
its answer ends as failed with the executor that runs it, or with who was to record it."""


class Fault(NamedTuple):
    """What was done to a process, and between when (monotonic)."""

    role: str
    began: float
    ended: float


def unexcused(failures: Sequence[Failure], faults: Sequence[Fault]) -> list[str]:
    """What is told of failures that none of the faults explains."""
    return [one.text for one in failures if not any(_excuses(fault, one) for fault in faults)]


def _excuses(fault: Fault, failure: Failure) -> bool:
    near = fault.began <= failure.at <= fault.ended + AFTER_SECONDS
    return near and any(failure.status == status and fault.role in roles for status, roles in EXCUSES)
