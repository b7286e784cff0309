"""Watches an instance while it is fuzzed: its processes, its log, its memory, and whether others are still served."""

import re
import statistics
import threading
import time

import httpx

from tests.instance import AnnalsInstance
from tests.resident import memory_of

SERVED_SECONDS = 60.0
"""How long a plain request of another client may take meanwhile."""

SAMPLE_SECONDS = 2.0
GROWTH, SLACK_BYTES = 1.25, 64_000_000
"""How much the API's memory in the last third may exceed that of the first: caches fill, and allocators keep."""

_FAULT = re.compile(r" (?:ERROR|CRITICAL) |Traceback \(most recent call last\)|\"level\": ?\"(?:error|critical)\"")
_LINES_BEHIND = 80
"""Lines of a fault that belong together: a traceback through the framework has so many."""
_MOST_FAULTS = 5


class Watch:
    """Looks every few seconds until it is stopped; `faults` are sentences."""

    def __init__(self, instance: AnnalsInstance) -> None:
        self._instance = instance
        self._log_start = len(instance.log.read_bytes())
        self._pids = self._processes()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.memory: list[int] = []
        self._unserved: list[str] = []

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _processes(self) -> dict[str, int]:
        return {str(row["role"]): int(row["pid"]) for row in self._instance.processes()}

    def _look(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            started = time.monotonic()
            try:
                answer = httpx.get(f"{self._instance.endpoint}/health", timeout=SERVED_SECONDS)
                if answer.status_code != 200:
                    self._unserved.append(f"another client's GET /health was answered {answer.status_code}")
            except httpx.HTTPError as error:
                waited = time.monotonic() - started
                self._unserved.append(f"another client was not served in {waited:.0f} s: {error!r}")
            try:
                self.memory.append(memory_of(pid for role, pid in self._pids.items() if role.startswith("api")))
            except OSError:  # a process has ended, which `faults` tells
                continue

    def faults(self) -> list[str]:
        """What is wrong: processes that ended, lines of the log, memory that grew, clients that were not served."""
        found = [*self._unserved[:_MOST_FAULTS], *self._log_faults()]
        now = self._processes()
        found += [
            f"the process {role} ended or was started again (pid {pid}, now {now.get(role)})"
            for role, pid in self._pids.items()
            if now.get(role) != pid
        ]
        return [*found, *self._memory_fault()]

    def _log_faults(self) -> list[str]:
        lines = self._instance.log.read_bytes()[self._log_start :].decode(errors="replace").splitlines()
        places = [number for number, line in enumerate(lines) if _FAULT.search(line)]
        firsts = [number for number in places if not any(number - _LINES_BEHIND < other < number for other in places)]
        return [
            "the log says:\n        " + "\n        ".join(line[:400] for line in lines[number : number + _LINES_BEHIND])
            for number in firsts[:_MOST_FAULTS]
        ]

    def _memory_fault(self) -> list[str]:
        third = len(self.memory) // 3
        if not third:
            return []
        first, last = statistics.median(self.memory[:third]), statistics.median(self.memory[-third:])
        if last <= first * GROWTH + SLACK_BYTES:
            return []
        return [f"the API processes' memory grew from {first / 1e6:.0f} to {last / 1e6:.0f} MB"]
