"""Child processes of the supervisor: started, watched, restarted with backoff, and ended.

One file because a child, its backoff and the reaper of its exit code work on the same few fields.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from annals.supervisor.folders import ProcessRow, start_ticks
from annals.supervisor.launch import launched
from annals.supervisor.lines import Lines, as_words

MOST_EARLY_ENDS = 3
"""Consecutive early ends of a process that was never ready, after which the start fails."""

_SUBREAPER = 36

FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 10.0
STEADY_SECONDS = 20.0
"""A process that ran for this long is restarted quickly again."""


class Backoff:
    """Wait before a restart: doubles from 0.1 s to 10 s while a process dies soon after each start."""

    def __init__(self) -> None:
        self._next = FIRST_WAIT_SECONDS
        self.restarts = 0
        self.early_ends = 0
        """Consecutive ends before the process had run steadily."""

    def after(self, ran_seconds: float) -> float:
        """Return the seconds to wait after a process that ran for `ran_seconds`."""
        self.restarts += 1
        if ran_seconds >= STEADY_SECONDS:
            self._next, self.early_ends = FIRST_WAIT_SECONDS, 0
        self.early_ends += 1
        wait, self._next = self._next, min(self._next * 2, LONGEST_WAIT_SECONDS)
        return wait


class Launch(NamedTuple):
    """How a program starts: `uid` is its user, `reach` the paths that this user needs, `keep` inherited descriptors.

    The kernel sends it `end_by` when the supervisor dies. A role of Annals also has `role`, its command with
    arguments, and `name`, the name in `annals ps`.
    """

    argv: list[str]
    environment: Mapping[str, str]
    uid: int | None = None
    reach: tuple[str, ...] = ()
    keep: tuple[int, ...] = ()
    end_by: signal.Signals = signal.SIGKILL
    role: tuple[str, ...] = ()
    name: str = ""


def popen(launch: Launch, output: int) -> int:
    """Start a program and return its pid. Its own session keeps Ctrl-C from it."""
    process = subprocess.Popen(
        launched(launch.argv, uid=launch.uid, reach=[*launch.reach], end_by=launch.end_by.name),
        env=launch.environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        pass_fds=launch.keep,
    )
    process.returncode = 0  # the reaper collects the exit code, so the object must not
    return process.pid


class Program(Protocol):
    """A program that the supervisor keeps running."""

    role: str
    name: str
    """The role, with a number if there are several processes of it."""
    stop_signal: signal.Signals
    once: bool
    """True if the program has finished once it exits with 0; otherwise every end leads to a restart."""

    def prepare(self) -> None:
        """Do what each start needs first; may block for a moment."""
        ...

    def launch(self) -> Launch: ...

    def ready(self) -> bool:
        """Return True once the started program serves."""
        ...

    def level(self, line: str) -> str:
        """Return the log level of an output line that names none."""
        ...


class NeverReady(Exception):
    """A program ended several times before it was ever ready; the message holds its last lines."""


class ChildReaper:
    """Collects the exit codes of children, adopted ones included, and resolves the futures that wait for them."""

    def __init__(self) -> None:
        self._awaited: dict[int, asyncio.Future[int]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGCHLD, self._collect)
        ctypes.CDLL(None, use_errno=True).prctl(
            _SUBREAPER, 1
        )  # the kernel reparents the children of a dead child to this process

    def watch(self, pid: int) -> asyncio.Future[int]:
        """Return a future of the exit code (negative: a signal). Call it in the step that started the process."""
        self._awaited[pid] = self._loop.create_future()
        return self._awaited[pid]

    def end_adopted(self) -> bool:
        """Kill processes that dead children left; return True if there were any."""
        left = [pid for pid in children_of(os.getpid()) if pid not in self._awaited]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._collect()
        return bool(left)

    def _collect(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                waiting = self._awaited.pop(pid, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(os.waitstatus_to_exitcode(status))


def children_of(pid: int) -> list[int]:
    """Return the pids of direct children that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent, *_ = stat.read_text().rpartition(")")[2].split()
            if int(parent) == pid and state not in {"Z", "X"}:
                found.append(int(stat.parent.name))
    return found


class Child:
    """One program that runs until `stop`. `changed` is called when its row in `annals ps` changes."""

    def __init__(
        self,
        program: Program,
        reaper: ChildReaper,
        *,
        say: Callable[..., None],
        hear: Callable[["Child", str], None],
        changed: Callable[[], None],
        spawn: Callable[[Launch, int], int] = popen,
    ) -> None:
        self.program, self.doing, self.pid = program, "", 0
        self.state: Literal["starting", "ready", "stopping"] = "starting"
        self._ended = False
        self.first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reaper, self._say, self._hear, self._changed = reaper, say, hear, changed
        self._spawn, self._backoff = spawn, Backoff()
        self._words: deque[str] = deque(maxlen=30)
        self._started_at, self._ticks = "", 0
        self._exit: asyncio.Future[int] | None = None
        self._task = asyncio.get_running_loop().create_task(self._keep())

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def running(self) -> bool:
        return self._exit is not None and not self._exit.done()

    def row(self) -> ProcessRow:
        return ProcessRow(
            role=self.name,
            pid=self.pid,
            ticks=self._ticks,
            started_at=self._started_at,
            state=self.state,
            doing=self.doing,
            restarts=self._backoff.restarts,
        )

    async def stop(self, seconds: float) -> None:
        """Send the stop signal; kill the process group if it has not ended after `seconds`."""
        self.state, self._ended = "stopping", True
        if self._exit is not None and self.running:
            self._signal(self.program.stop_signal)
            await asyncio.wait([self._exit], timeout=seconds)
            if not self._exit.done():
                self._say("killed", "warning", process=self.name, pid=self.pid, after_seconds=seconds)
                self.kill()
                await asyncio.wait([self._exit], timeout=2)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def kill(self) -> None:
        """Kill the process group at once; no restart follows."""
        self._ended = True
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def _keep(self) -> None:
        while not self._ended:
            self.state, self.doing = "starting", ""
            began = time.monotonic()
            try:
                await asyncio.to_thread(self.program.prepare)
                code = await self._once()
            except OSError as error:
                self._words.append(str(error))
                code = 1
            if self._ended:
                return
            if self.program.once and code == 0:
                self.first_ready.set_result(None)
                return
            self._reaper.end_adopted()
            wait = self._backoff.after(time.monotonic() - began)
            if not self.first_ready.done() and self._backoff.early_ends >= MOST_EARLY_ENDS:
                words = "\n".join(dict.fromkeys(as_words(line) for line in self._words))
                self.first_ready.set_exception(NeverReady(f"{self.name} {_ending(code)}:\n{words}"))
                return
            last = {"last_line": as_words(self._words[-1])} if self._words else {}
            self._say(f"{self.name} {_ending(code)}; restarting in {wait:g} s", "warning", process=self.name, **last)
            self._changed()
            await asyncio.sleep(wait)

    async def _once(self) -> int:
        """Start the program and wait for its end."""
        reading = self._start()
        if self._exit is None:
            return 1
        try:
            while not self._exit.done():
                if self.state == "starting" and self.program.ready():
                    self.state = "ready"
                    self._changed()
                    if not self.first_ready.done():
                        self.first_ready.set_result(None)
                await asyncio.wait([self._exit], timeout=0.02 if self.state == "starting" else None)
            return self._exit.result()
        finally:
            reading.close()

    def _start(self) -> Lines:
        launch = self.program.launch()
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            self.pid = self._spawn(launch, writing)
        finally:
            os.close(writing)
        self._exit = self._reaper.watch(self.pid)
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._ticks = start_ticks(self.pid) or 0
        self._changed()
        return Lines(reading, self._take)

    def _take(self, line: str) -> None:
        self._words.append(line)
        self._hear(self, line)


async def stop_all(children: Iterable[Child], seconds: float) -> None:
    """Stop several children concurrently."""
    await asyncio.gather(*(child.stop(seconds) for child in children))


def _ending(code: int) -> str:
    """Return how a process ended, as the end of a sentence that begins with its name."""
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"
