"""A whole instance for tests, started with `annals up`; a stop checks that it leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx

from annals.http.listening import listen
from annals.supervisor.children import children_of
from annals.supervisor.folders import Folders, start_ticks
from tests.sandboxes import groups_of, left_by

STOP_SECONDS = 60
"""The time limit of a stop, which takes about two seconds."""

MOST_GROWTH = 40_000_000
"""The bytes that all API processes together may grow by: the reserve of an allocator."""


class AnnalsInstance:
    """A running `annals up`; its attributes from `endpoint` to `database_url` are the values that it printed."""

    def __init__(self, process: "subprocess.Popen[str]", line: str, log: Path) -> None:
        self.process, self.rest, self.log = process, "", log
        self.ready: dict[str, Any] = json.loads(line)
        self.endpoint, self.project, self.key = (str(self.ready[name]) for name in ("endpoint", "project", "key"))
        self.data, self.driver = Path(self.ready["data"]), str(self.ready["driver"])
        self.database_url = str(self.ready["database_url"])
        self.headers = {"X-Appwrite-Project": self.project, "X-Appwrite-Key": self.key}
        self.leaves_groups = False
        """True for a release that leaves empty control groups behind; `stop` removes them then."""
        self.executors: dict[str, Path] = {}
        """The data folders of its separate executors by address."""

    @classmethod
    def start(
        cls,
        data: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        wrap: Callable[[list[str]], list[str]] = lambda argv: argv,
    ) -> Self:
        """Start on a free port and wait until the instance is ready; it logs to a file beside the data folder."""
        log = data.with_name(f"{data.name}.log")
        with log.open("a") as writing:
            process = subprocess.Popen(
                wrap([sys.executable, "-m", "annals", "up", "--json", "--port", "0", "--data", str(data), *options]),
                stdout=subprocess.PIPE,
                stderr=writing,
                text=True,
                env=plain(
                    {
                        "ANNALS_FUNCTIONS_CREATE_QUOTA": "0",
                        "ANNALS_GIT_ALLOWED_HOSTS": "127.0.0.1",
                        **(environment or {}),
                    }
                ),
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"annals up ended before it was ready:\n{log.read_text()[-4000:]}"
        return cls(process, line, log)

    def family(self) -> dict[int, int]:
        """Return every process of the instance with its start time, the supervisor first."""
        found: dict[int, int] = {}
        waiting = [self.process.pid]
        while waiting:
            pid = waiting.pop()
            ticks = start_ticks(pid)
            if ticks is not None:
                found[pid] = ticks
                waiting += children_of(pid)
        return found

    def processes(self) -> list[dict[str, Any]]:
        """Return the rows of `annals ps`."""
        rows: list[dict[str, Any]] = json.loads(annals("ps", "--json", "--data", str(self.data)).stdout)["processes"]
        return rows

    def pid_of(self, role: str) -> int:
        return int(next(row["pid"] for row in self.processes() if row["role"] == role))

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, dict[int, int]]:
        """Send a signal, wait for the end, and return the exit code and the instance's processes."""
        family = self.family()
        self.process.send_signal(number)
        code: int = self.process.wait(STOP_SECONDS)
        assert self.process.stdout is not None
        self.rest = self.process.stdout.read()
        self.process.stdout.close()
        return code, family

    def cut(self) -> dict[int, int]:
        """Kill every process at once, as a power cut does, and return the processes."""
        stopped: dict[int, int] = {}
        while new := {pid: ticks for pid, ticks in self.family().items() if pid not in stopped}:
            stopped |= new
            for pid in new:
                _signal(pid, signal.SIGSTOP)
        for pid in stopped:
            _signal(pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return stopped

    def stop(self) -> None:
        """Stop the instance in order, and fail if a process or a part of a sandbox stays."""
        if self.process.poll() is not None:
            return
        code, family = self.end()
        assert code == 0, f"exit code {code}:\n{self.log.read_text()[-4000:]}"
        assert alive(family) == [], f"left behind: {alive(family)}"
        assert left_by(self.data) == []
        if self.leaves_groups:
            for group in groups_of(self.data):
                Path(group).rmdir()
        assert groups_of(self.data) == []


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@contextmanager
def short_folder() -> Iterator[Path]:
    """Create a temporary folder that every user may traverse and whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="annals-test-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def instance_of_its_own(**environment: str) -> Iterator[AnnalsInstance]:
    """Run a fresh instance with the sandbox driver."""
    with short_folder() as folder:
        instance = AnnalsInstance.start(folder / "data", "--driver", "sandbox", environment=environment)
        try:
            yield instance
        finally:
            instance.stop()


def annals(
    *arguments: str, environment: Mapping[str, str] | None = None, seconds: float = 150
) -> "subprocess.CompletedProcess[str]":
    """Run one `annals` command, with a time limit."""
    command = [sys.executable, "-m", "annals", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=seconds, env=plain(environment or {})
    )


def plain(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with these settings as its only `ANNALS_` variables."""
    return {**{k: v for k, v in os.environ.items() if not k.startswith("ANNALS_")}, **settings}


def alive(family: Mapping[int, int]) -> Sequence[int]:
    """Return the processes of a family that still run."""
    return [pid for pid, ticks in family.items() if start_ticks(pid) == ticks]


def eventually(condition: Callable[[], object], seconds: float = 60, *, explain: Callable[[], object] = str) -> Any:
    """Repeat a condition until it is true, and return its value; fail if it is not true in time.

    `explain` returns details for the message of a failure.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"did not come true in {seconds:g} s. {explain()}"
        time.sleep(0.05)


@contextmanager
def another_api(instance: AnnalsInstance) -> Iterator[str]:
    """Run another API process of an instance, and yield its endpoint."""
    running = Folders(instance.data).running()
    assert running is not None
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    environment = plain({**running.settings, "ANNALS_PORT": str(port)})
    with instance.log.open("a") as log:
        process = subprocess.Popen([sys.executable, "-m", "annals", "api"], env=environment, stdout=log, stderr=log)
    endpoint = f"http://127.0.0.1:{port}/v1"
    try:
        eventually(lambda: _answers(endpoint))
        yield endpoint
    finally:
        process.terminate()
        assert process.wait(60) == 0


def _answers(endpoint: str) -> bool:
    try:
        return httpx.get(f"{endpoint}/health/version", timeout=30).is_success
    except httpx.TransportError:
        return False


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
