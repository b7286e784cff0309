"""`annals up`: starts an instance in the order of its dependencies, keeps it running, and ends it whole."""

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from annals.settings import as_environment
from annals.supervisor.children import Child, Launch, Program, Reaper, popen, stop_all
from annals.supervisor.folders import Process, Running, start_ticks
from annals.supervisor.forks import Forks
from annals.supervisor.live_log import Live
from annals.supervisor.notifications import Notifications
from annals.supervisor.process_list import ProcessList
from annals.supervisor.programs import Embedded, Role, plain
from annals.supervisor.services import Services, read_key
from annals.supervisor.start_progress import StartProgress
from annals.telemetry.metrics import forget

STAGES = ((("api", "worker", "keeper", "prepare", "nursery"), 4.5), (("executor", "valkey", "postgres"), 8.5))
"""What ends together, and how many seconds after the stop began it is killed: all of it within ten.

The executor gets the time that others did not use: a container engine needs a tenth of a second for each container.
"""

READY_SECONDS = 180
"""A first start makes the database; later ones take a few seconds."""


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """What a person or a script needs to use the instance: the one line of `annals up --json`."""

    endpoint: str
    project: str
    key: str
    data: str
    driver: str
    database_url: str


class Instance:
    """One instance on this machine; belongs to the running event loop."""

    def __init__(self, services: Services, live: Live) -> None:
        self.settings, self.folders = services.settings, services.folders
        self._services, self._live = services, live
        self._reaper = Reaper()
        self._children: list[Child] = []
        self._progress: StartProgress | None = None
        self._list = ProcessList(self.folders, self._rows)
        self._driver: str = self.settings.driver
        self._environment = as_environment(self.settings)
        self._began = datetime.now(UTC).isoformat(timespec="seconds")
        self._notifications = Notifications(services.notify_path, self._told)
        self._forks = Forks(plain(os.environ), str(services.notify_path), (services.listening.fileno(),))

    async def start(self) -> Started:
        """Start everything and wait until it is ready. Raises NeverReady, TimeoutError, OSError."""
        self._progress = StartProgress(self._live.say, self._parts())
        async with asyncio.timeout(READY_SECONDS):
            first = [self._child(Embedded(service)) for service in self._services.embedded]
            first.append(self._child(self._forks))
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
        return Started(
            endpoint=self.settings.endpoint,
            project=key.project,
            key=key.key,
            data=str(self.folders.data),
            driver=self._driver,
            database_url=self.settings.database_url,
        )

    async def stop(self) -> None:
        """End everything in order, adopted processes included; nothing is left after ten seconds."""
        began = time.monotonic()
        for roles, deadline in STAGES:
            left = began + deadline - time.monotonic()
            await stop_all([child for child in self._children if child.program.role in roles], left)
        until = time.monotonic() + 1
        while self._reaper.end_adopted() and time.monotonic() < until:  # noqa: ASYNC110 (no event tells of these)
            await asyncio.sleep(0.01)
        self._list.close()
        self._notifications.close()
        self._forks.close()
        self.folders.clear()

    def kill(self) -> None:
        """Wait for nothing any more."""
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
        return self._child(program, self._forks.spawn)

    def _child(self, program: Program, spawn: Callable[[Launch, int], int] = popen) -> Child:
        live, changed = self._live, self._write_processes
        child = Child(program, self._reaper, say=live.say, hear=live.hear, changed=changed, spawn=spawn)
        self._children.append(child)
        if self._progress is not None:
            self._progress.watch(child.name, child.first_ready)
        return child

    def _parts(self) -> int:
        """The processes that a start waits for: services, fork server, executor, prepare, API, workers, keeper."""
        own = self.settings.api_processes + self.settings.workers + 3
        return len(self._services.embedded) + own + self._services.runs_executor

    def _told(self, pid: int, told: dict[str, str]) -> None:
        for child in self._children:
            if child.pid == pid and isinstance(child.program, Role | Forks):
                child.program.notified |= told.get("READY") == "1"
                child.program.pid = pid
                self._driver = told.get("X_DRIVER", self._driver)
                doing = told.get("STATUS", child.doing)
                if doing != child.doing:
                    child.doing = doing
                    self._write_processes()

    def _write_processes(self) -> None:
        for child in self._children:
            if not child.running:
                forget(self.folders.metrics, child.name)
        self._list.write()

    def _rows(self) -> list[Process]:
        pid = os.getpid()
        ours = Process(role="supervisor", pid=pid, ticks=start_ticks(pid) or 0, started_at=self._began, state="ready")
        return [ours, *(child.row() for child in self._children if child.running)]
