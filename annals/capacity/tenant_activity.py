"""Who else calls on a host, and how much of it they want: in memory that its API processes share.

What a project that is not alone does differently: docs/adr/0031-fair-sharing.md.
"""

import hashlib
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, Self

from annals.capacity.shared_memory import opened

HOLD_SECONDS = 1.0
"""How long what was written counts: longer than the slowest hop of a call beside a flood, which renews it at each."""

PROCESSES = 16
"""How many processes of a host can tell what is wanted of them; of more, two share a place."""

_CALLED = struct.Struct("8sd")
_TOLD = struct.Struct("IId8sII")
_FIRST, _SECOND = 0, _CALLED.size
_PLACES = 2 * _CALLED.size
SIZE = _PLACES + PROCESSES * _TOLD.size


class _Told(NamedTuple):
    """What one process says of itself."""

    process: int
    wanted: int
    at: float
    project: bytes
    of_project: int
    at_work: int


class TenantActivity:
    """`clock` counts seconds and is the same for all processes of a host, `process` names this one among them.

    Two processes that write at once may leave half of each: a mistake for one moment, in one direction or the other.
    """

    def __init__(self, memory: mmap.mmap, clock: Callable[[], float] = time.monotonic, process: int = 0) -> None:
        self._memory, self._clock = memory, clock
        self._process = process or os.getpid()
        self._place = self._free_place()

    @classmethod
    def open(cls, executors: Sequence[str], clock: Callable[[], float] = time.monotonic, process: int = 0) -> Self:
        """That of the host whose executor these addresses name."""
        return cls(opened(executors, f"company-{SIZE}", SIZE), clock, process)

    def met(self, project_id: str) -> None:
        """A project has called: it takes its own place again, or that of whoever called longer ago."""
        name, now = _name(project_id), self._clock()
        (first, at), (second, since) = self._called()
        own = _FIRST if first == name else _SECOND if second == name else _FIRST if at <= since else _SECOND
        _CALLED.pack_into(self._memory, own, name, now)

    def of(self, project_id: str) -> bool:
        """Whether another project has called a moment ago; what was written before the host was started is nothing."""
        name, now = _name(project_id), self._clock()
        return any(now - HOLD_SECONDS < at <= now and caller != name for caller, at in self._called())

    def tell(self, wanted: int, project_id: str, of_project: int, at_work: int) -> None:
        """What is wanted of this process, and of the project that wants most: how much, and how much it is at."""
        place = _PLACES + self._place * _TOLD.size
        name = _name(project_id)
        _TOLD.pack_into(self._memory, place, self._process, wanted, self._clock(), name, of_project, at_work)

    def others_want(self, project_id: str) -> int:
        """How much projects but this one want of the host; its own counts where a process told of another's."""
        name = _name(project_id)
        return sum(told.wanted - told.of_project * (told.project == name) for told in self._told())

    def elsewhere(self, project_id: str) -> int:
        """How much other processes are at for a project, of those where it wants most."""
        name = _name(project_id)
        own = self._process
        return sum(told.at_work for told in self._told() if told.project == name and told.process != own)

    def _called(self) -> tuple[tuple[bytes, float], tuple[bytes, float]]:
        return _CALLED.unpack_from(self._memory, _FIRST), _CALLED.unpack_from(self._memory, _SECOND)

    def _told(self) -> Iterator[_Told]:
        """What processes told a moment ago."""
        now = self._clock()
        for told in map(_Told._make, _TOLD.iter_unpack(self._memory[_PLACES:SIZE])):
            if now - HOLD_SECONDS < told.at <= now:
                yield told

    def _free_place(self) -> int:
        """One that nobody has, else that of a process which says nothing any more."""
        processes = [process for process, *_ in _TOLD.iter_unpack(self._memory[_PLACES:SIZE])]
        if 0 in processes:
            place = processes.index(0)
        else:
            place = next((n for n, process in enumerate(processes) if not _alive(process)), self._process % PROCESSES)
        _TOLD.pack_into(self._memory, _PLACES + place * _TOLD.size, self._process, 0, 0.0, b"", 0, 0)
        return place


def _alive(process: int) -> bool:
    return os.path.exists(f"/proc/{process}")


@lru_cache(maxsize=4096)
def _name(project_id: str) -> bytes:
    return hashlib.blake2b(project_id.encode(), digest_size=8).digest()
