"""The supervisor of `annals up`: starts an instance in order of dependencies, keeps it running, and stops it."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

from annals.settings import Settings, as_environment
from annals.supervisor.children import Child, ChildReaper, Launch, Program, popen, stop_all
from annals.supervisor.folders import ProcessList, ProcessRow, Running, start_ticks
from annals.supervisor.lines import json_entry
from annals.supervisor.notify import Notifications, notify
from annals.supervisor.programs import Embedded, ForkServer, Role, plain
from annals.supervisor.services import LocalServices, read_key
from annals.telemetry.log_text import as_text, plain_json, shown
from annals.telemetry.metrics import forget

STAGES = ((("api", "worker", "keeper", "prepare", "nursery"), 4.5), (("executor", "valkey", "postgres"), 8.5))
"""Roles that stop together, with the seconds after which they are killed: all within ten seconds.

The executor gets the time that others did not use: a container engine needs a tenth of a second for each container.
"""

READY_SECONDS = 180
"""Limit for a start. The first one creates the database; later ones take a few seconds."""


class LiveLog:
    """Writes entries as text, coloured on a terminal, or as JSON lines, as the settings say."""

    def __init__(self, settings: Settings, stream: TextIO = sys.stderr) -> None:
        self._stream, self._least = stream, settings.log_level
        self._json = settings.log_format == "json"
        self._colour = stream.isatty()

    def say(self, event: str, level: str = "info", **details: object) -> None:
        """Log a line of the supervisor."""
        self.write({"time": _now(), "role": "annals", "level": level, "event": event, **details})

    def hear(self, child: Child, line: str) -> None:
        """Log a line of a child: a structured entry, or any text."""
        entry = json_entry(line) or {"time": _now(), "level": child.program.level(line), "event": line.rstrip()}
        self.write({**entry, "role": child.name})

    def write(self, entry: Mapping[str, Any]) -> None:
        if not shown(entry, self._least):
            return
        text = plain_json(json.dumps(entry, default=str)) if self._json else as_text(entry, colour=self._colour)
        with contextlib.suppress(OSError):  # the reader is gone; the instance runs on
            self._stream.write(text + "\n")
            self._stream.flush()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class StartedInstance(msgspec.Struct, frozen=True, kw_only=True):
    """The data that a user or a script needs: the one line of `annals up --json`."""

    endpoint: str
    project: str
    key: str
    data: str
    driver: str
    database_url: str


class StartProgress:
    """Reports how far a start is: one line for each part that is ready, in the log and to systemd."""

    def __init__(self, say: Callable[[str], None], parts: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._parts, self._clock = say, parts, clock
        self._ready, self._began = 0, clock()
        self.report(f"starting {parts} processes")

    def watch(self, name: str, ready: "asyncio.Future[None]") -> None:
        """Report when this part is ready; the start itself reports a failure."""
        ready.add_done_callback(lambda done: self._count(name, done))

    def report(self, sentence: str) -> None:
        self._say(sentence)
        notify(STATUS=sentence)

    def _count(self, name: str, done: "asyncio.Future[None]") -> None:
        if done.cancelled() or done.exception() is not None:
            return
        self._ready += 1
        self.report(f"{name} is ready ({self._ready} of {self._parts}, after {self._clock() - self._began:.1f} s)")


class LocalInstance:
    """One instance on this machine; belongs to the running event loop."""

    def __init__(self, services: LocalServices, live: LiveLog) -> None:
        self.settings, self.folders = services.settings, services.folders
        self._services, self._live = services, live
        self._reaper = ChildReaper()
        self._children: list[Child] = []
        self._progress: StartProgress | None = None
        self._list = ProcessList(self.folders, self._rows)
        self._driver: str = self.settings.driver
        self._environment = as_environment(self.settings)
        self._began = datetime.now(UTC).isoformat(timespec="seconds")
        self._notifications = Notifications(services.notify_path, self._on_notification)
        self._fork_server = ForkServer(plain(os.environ), str(services.notify_path), (services.listening.fileno(),))

    async def start(self) -> StartedInstance:
        """Start all processes and wait until they are ready. Raises NeverReady, TimeoutError, OSError."""
        self._progress = StartProgress(self._live.say, self._parts())
        async with asyncio.timeout(READY_SECONDS):
            first = [self._child(Embedded(service)) for service in self._services.embedded]
            first.append(self._child(self._fork_server))
            await first[-1].first_ready
            if self._services.runs_executor:
                first.append(self._role("executor"))
            await self._role("prepare").first_ready
            await asyncio.gather(*(child.first_ready for child in (*first, *self._start_roles())))
        self.folders.write(
            "instance.json",
            Running(pid=os.getpid(), endpoint=self.settings.endpoint, driver=self._driver, settings=self._environment),
        )
        key = read_key(self.folders.data)
        return StartedInstance(
            endpoint=self.settings.endpoint,
            project=key.project,
            key=key.key,
            data=str(self.folders.data),
            driver=self._driver,
            database_url=self.settings.database_url,
        )

    async def stop(self) -> None:
        """Stop all processes in order, adopted ones included, within ten seconds."""
        began = time.monotonic()
        for roles, deadline in STAGES:
            left = began + deadline - time.monotonic()
            await stop_all([child for child in self._children if child.program.role in roles], left)
        until = time.monotonic() + 1
        while self._reaper.end_adopted() and time.monotonic() < until:  # noqa: ASYNC110 (no event announces adopted processes)
            await asyncio.sleep(0.01)
        self._list.close()
        self._notifications.close()
        self._fork_server.close()
        self.folders.clear()

    def kill(self) -> None:
        """Kill all processes at once."""
        for child in self._children:
            child.kill()

    def _start_roles(self) -> list[Child]:
        fd = self._services.listening.fileno()
        return [
            *(
                self._role("api", number, keep=(fd,), arguments=("--listen-fd", str(fd)))
                for number in range(1, self.settings.api_processes + 1)
            ),
            *(self._role("worker", number) for number in range(1, self.settings.workers + 1)),
            self._role("keeper"),
        ]

    def _role(
        self, role: str, number: int = 0, *, keep: tuple[int, ...] = (), arguments: tuple[str, ...] = ()
    ) -> Child:
        notify = str(self._services.notify_path)
        program = Role(role, self._environment, notify, number=number, keep=keep, arguments=arguments)
        return self._child(program, self._fork_server.spawn)

    def _child(self, program: Program, spawn: Callable[[Launch, int], int] = popen) -> Child:
        live, changed = self._live, self._write_processes
        child = Child(program, self._reaper, say=live.say, hear=live.hear, changed=changed, spawn=spawn)
        self._children.append(child)
        if self._progress is not None:
            self._progress.watch(child.name, child.first_ready)
        return child

    def _parts(self) -> int:
        """Return the number of processes that a start waits for."""
        own = self.settings.api_processes + self.settings.workers + 3
        return len(self._services.embedded) + own + self._services.runs_executor

    def _on_notification(self, pid: int, assignments: dict[str, str]) -> None:
        for child in self._children:
            if child.pid == pid and isinstance(child.program, Role | ForkServer):
                child.program.notified |= assignments.get("READY") == "1"
                child.program.pid = pid
                self._driver = assignments.get("X_DRIVER", self._driver)
                doing = assignments.get("STATUS", child.doing)
                if doing != child.doing:
                    child.doing = doing
                    self._write_processes()

    def _write_processes(self) -> None:
        for child in self._children:
            if not child.running:
                forget(self.folders.metrics, child.name)
        self._list.write()

    def _rows(self) -> list[ProcessRow]:
        pid = os.getpid()
        ours = ProcessRow(
            role="supervisor", pid=pid, ticks=start_ticks(pid) or 0, started_at=self._began, state="ready"
        )
        return [ours, *(child.row() for child in self._children if child.running)]
