"""Memory of an instance's API processes, which nobody is to fill by what he sends."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.instance import AnnalsInstance

MOST_KEPT = 40_000_000
"""Bytes, of all API processes together: what an allocator keeps."""


def resident(instance: AnnalsInstance) -> int:
    """Bytes of memory of the instance's API processes."""
    pids = [row["pid"] for row in instance.processes() if str(row["role"]).startswith("api")]
    assert pids
    return memory_of(pids)


def memory_of(pids: Iterable[int]) -> int:
    """Bytes of memory of these processes. Raises OSError if one of them has ended."""
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(status.partition("VmRSS:")[2].split()[0]) * 1024 for status in statuses)


@contextmanager
def flat(instance: AnnalsInstance) -> Iterator[None]:
    """What is sent meanwhile leaves no more bytes than an allocator keeps."""
    before = resident(instance)
    yield
    grown = resident(instance) - before
    assert grown < MOST_KEPT, f"{grown} bytes more"
