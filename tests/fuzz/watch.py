"""Watches a fuzzed instance: its processes, its log, its memory, and the answers to another client."""

import re
import statistics
import threading
import time

import httpx

from tests.instance import AnnalsInstance, memory_of

SERVED_SECONDS = 60.0
"""The time limit of a plain request of another client."""

SAMPLE_SECONDS = 2.0
GROWTH, SLACK_BYTES = 1.25, 64_000_000
"""The allowed growth of the API's memory from the first to the last third: caches fill, allocators keep a reserve."""

_FAULT = re.compile(r" (?:ERROR|CRITICAL) |Traceback \(most recent call last\)|\"level\": ?\"(?:error|critical)\"")
_LINES_BEHIND = 80
"""The greatest number of lines of one fault, such as a traceback through the framework."""
_MOST_FAULTS = 5


class Watch:
    """Checks an instance every few seconds while inside; `faults` returns descriptions."""

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
            except OSError:  # a process has ended, which `faults` reports
                continue

    def faults(self) -> list[str]:
        """Return the faults: ended processes, errors in the log, growth of memory, clients without an answer."""
        found = [*self._unserved[:_MOST_FAULTS], *self._log_faults()]
        now = self._processes()
        found += [
            f"the process {role} ended or restarted (pid {pid}, now {now.get(role)})"
            for role, pid in self._pids.items()
            if now.get(role) != pid
        ]
        return [*found, *self._memory_fault()]

    def _log_faults(self) -> list[str]:
        lines = self._instance.log.read_bytes()[self._log_start :].decode(errors="replace").splitlines()
        found = [number for number, line in enumerate(lines) if _FAULT.search(line)]
        firsts = [number for number in found if not any(number - _LINES_BEHIND < other < number for other in found)]
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
