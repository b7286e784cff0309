"""The memory of an instance's API processes, which no client may fill with its requests."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.instance import AnnalsInstance

MOST_GROWTH = 40_000_000
"""The bytes that all API processes together may grow by: the reserve of an allocator."""


def resident(instance: AnnalsInstance) -> int:
    """Return the bytes of memory of the instance's API processes."""
    pids = [row["pid"] for row in instance.processes() if str(row["role"]).startswith("api")]
    assert pids
    return memory_of(pids)


def memory_of(pids: Iterable[int]) -> int:
    """Return the bytes of memory of these processes; raise OSError if a process has ended."""
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(status.partition("VmRSS:")[2].split()[0]) * 1024 for status in statuses)


@contextmanager
def flat(instance: AnnalsInstance) -> Iterator[None]:
    """Check that the API processes do not grow within the block by more than an allocator's reserve."""
    before = resident(instance)
    yield
    grown = resident(instance) - before
    assert grown < MOST_GROWTH, f"the API processes grew by {grown} bytes"
