"""What the processes of one host know of each other, in memory that they share: tenant activity and backpressure.

The memory is a file beside the executor's socket. Each value carries the time at which it was written and counts only
for a moment, so a process that dies leaves nothing behind. Why: docs/adr/0026-accepting-before-running.md and
docs/adr/0031-fair-sharing.md.
"""

import hashlib
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, Self

import structlog

Clock = Callable[[], float]
"""Seconds, the same for all processes of a host."""

BACKPRESSURE_SECONDS = 0.1
"""How long one report of backpressure counts."""

ACTIVITY_SECONDS = 1.0
"""How long a report of activity counts: longer than the slowest step of a call beside a flood, which renews it."""

PROCESSES = 16
"""Records for processes of a host; if there are more processes, some share a record."""

_UNTIL = struct.Struct("d")
_CALLER = struct.Struct("8sd")
_DEMAND = struct.Struct("IId8sII")
_FIRST_CALLER = 0
_SECOND_CALLER = _CALLER.size
_DEMANDS = 2 * _CALLER.size
SIZE = _DEMANDS + PROCESSES * _DEMAND.size
"""Bytes of the memory of `TenantActivity`."""

log = structlog.get_logger(__name__)


class Backpressure:
    """A flag that API processes raise while callers wait for their work to be accepted; workers slow down then."""

    def __init__(self, memory: mmap.mmap, clock: Clock = time.monotonic) -> None:
        self._memory = memory
        self._clock = clock

    @classmethod
    def open(cls, executors: Sequence[str], clock: Clock = time.monotonic) -> Self:
        """Return the flag of the host whose executor has one of these addresses."""
        return cls(_open_memory(executors, "pressure", _UNTIL.size), clock)

    def raise_flag(self) -> None:
        """Report that callers wait; the report counts for BACKPRESSURE_SECONDS."""
        _UNTIL.pack_into(self._memory, 0, self._clock() + BACKPRESSURE_SECONDS)

    @property
    def active(self) -> bool:
        """True if a process reported backpressure a moment ago. A time from before the host's start is ignored."""
        (until,) = _UNTIL.unpack_from(self._memory)
        now = self._clock()
        return bool(now < until <= now + BACKPRESSURE_SECONDS)


class ProcessDemand(NamedTuple):
    """What one process has to do: all requests, and those of the project with the most, which is `project_id`."""

    requests: int
    project_id: str
    project_requests: int
    project_running: int


class _Record(NamedTuple):
    """The demand of one process as it is stored."""

    process: int
    requests: int
    written_at: float
    project: bytes
    project_requests: int
    project_running: int


class TenantActivity:
    """The two projects that called a host last, and what each of its processes has to do.

    Two processes that write at the same moment may leave half of each value. The mistake lasts for a moment, and errs
    in either direction. `process` is this process's id.
    """

    def __init__(self, memory: mmap.mmap, clock: Clock = time.monotonic, process: int = 0) -> None:
        self._memory = memory
        self._clock = clock
        self._process = process or os.getpid()
        self._offset = _DEMANDS + self._claim_record() * _DEMAND.size

    @classmethod
    def open(cls, executors: Sequence[str], clock: Clock = time.monotonic, process: int = 0) -> Self:
        """Return the activity on the host whose executor has one of these addresses."""
        return cls(_open_memory(executors, f"company-{SIZE}", SIZE), clock, process)

    def record_call(self, project_id: str) -> None:
        """Record that a project called, in its own entry if it has one, else over the older of the two entries."""
        name = _short_name(project_id)
        now = self._clock()
        (first, first_at), (second, second_at) = self._callers()
        if name == first:
            offset = _FIRST_CALLER
        elif name == second or second_at < first_at:
            offset = _SECOND_CALLER
        else:
            offset = _FIRST_CALLER
        _CALLER.pack_into(self._memory, offset, name, now)

    def is_contended(self, project_id: str) -> bool:
        """Return True if another project called a moment ago. A time from before the host's start is ignored."""
        name = _short_name(project_id)
        now = self._clock()
        return any(now - ACTIVITY_SECONDS < at <= now and caller != name for caller, at in self._callers())

    def publish(self, demand: ProcessDemand) -> None:
        """Show the other processes what this one has to do."""
        requests, project_id, project_requests, running = demand
        name = _short_name(project_id)
        _DEMAND.pack_into(
            self._memory, self._offset, self._process, requests, self._clock(), name, project_requests, running
        )

    def others_demand(self, project_id: str) -> int:
        """Return how many requests of other projects the host has.

        Requests of the project itself are subtracted in processes in which no other project has more.
        """
        name = _short_name(project_id)
        return sum(record.requests - record.project_requests * (record.project == name) for record in self._records())

    def running_elsewhere(self, project_id: str) -> int:
        """Return how many of a project's requests run in other processes, if no project has more there."""
        name = _short_name(project_id)
        own = self._process
        return sum(r.project_running for r in self._records() if r.project == name and r.process != own)

    def _callers(self) -> tuple[tuple[bytes, float], tuple[bytes, float]]:
        return _CALLER.unpack_from(self._memory, _FIRST_CALLER), _CALLER.unpack_from(self._memory, _SECOND_CALLER)

    def _records(self) -> Iterator[_Record]:
        """Yield the demand of each process that published it a moment ago."""
        now = self._clock()
        for record in map(_Record._make, _DEMAND.iter_unpack(self._memory[_DEMANDS:SIZE])):
            if now - ACTIVITY_SECONDS < record.written_at <= now:
                yield record

    def _claim_record(self) -> int:
        """Take and return a free index, or the index of a dead process."""
        processes = [process for process, *_ in _DEMAND.iter_unpack(self._memory[_DEMANDS:SIZE])]
        if 0 in processes:
            index = processes.index(0)
        else:
            dead = (n for n, process in enumerate(processes) if not os.path.exists(f"/proc/{process}"))
            index = next(dead, self._process % PROCESSES)
        _DEMAND.pack_into(self._memory, _DEMANDS + index * _DEMAND.size, self._process, 0, 0.0, b"", 0, 0)
        return index


@lru_cache(maxsize=4096)
def _short_name(project_id: str) -> bytes:
    return hashlib.blake2b(project_id.encode(), digest_size=8).digest()


def _open_memory(executors: Sequence[str], name: str, size: int) -> mmap.mmap:
    """Return memory of the host whose executor has one of these addresses, or private memory if there is no such host.

    API processes that reach the executor over the network share no processor with its workers.
    """
    socket = next((address.removeprefix("unix:") for address in executors if address.startswith("unix:")), "")
    if socket:
        try:
            return _map_file(f"{socket}.{name}", size)
        except OSError as error:  # the process works as if it were alone on the host
            log.warning("memory_not_shared", socket=socket, name=name, error=str(error))
    return mmap.mmap(-1, size)


def _map_file(path: str, size: int) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)
