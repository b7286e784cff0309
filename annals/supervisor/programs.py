"""The programs that the supervisor starts: embedded services, roles, and the fork server with its client."""

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping

from annals.supervisor.children import Launch, popen
from annals.supervisor.lines import json_entry
from annals.supervisor.postgres import Postgres
from annals.supervisor.valkey import Valkey

WITHOUT_STORE = ("ANNALS_DATABASE_URL", "ANNALS_REDIS_URL", "ANNALS_MASTER_KEY_FILE")
"""Settings that the executor does not get, since user code runs next to it."""

FORK_SECONDS = 2.0
"""Longest wait for a fork, which takes milliseconds; after it the supervisor starts the process itself."""


class Embedded:
    """Postgres or Valkey from its wheel."""

    once = False

    def __init__(self, service: Postgres | Valkey) -> None:
        self.service, self.role, self.name = service, service.role, service.role
        self.stop_signal = service.stop_signal
        self.prepare, self.ready = service.prepare, service.ready

    def launch(self) -> Launch:
        uid = self.service.folders.service_uid
        return Launch(
            self.service.command,
            plain(os.environ),
            uid=uid,
            reach=tuple(self.service.reach),
            end_by=self.stop_signal,
        )

    def level(self, line: str) -> str:
        """Return debug for ordinary lines: the last lines are shown anyway if the service ends."""
        return "error" if line.startswith("PANIC") else "debug"


class Role:
    """A process `annals <role>`, configured by its environment alone."""

    stop_signal = signal.SIGTERM

    def __init__(
        self,
        role: str,
        settings: Mapping[str, str],
        notify: str,
        *,
        number: int = 0,
        keep: tuple[int, ...] = (),
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.role, self.name, self.once = role, f"{role}{number}" if number else role, role == "prepare"
        self._settings = dict(settings)
        if role == "executor":
            self._settings.update(dict.fromkeys(WITHOUT_STORE, ""))
        self._notify, self._keep, self._arguments = notify, keep, arguments
        self.notified, self.pid = False, 0
        """Whether the running process reported readiness (`notify.py`), and its pid."""

    def prepare(self) -> None:
        self.notified = False

    def launch(self) -> Launch:
        environment = {
            **plain(os.environ),
            **self._settings,
            "ANNALS_LOG_FORMAT": "json",
            "ANNALS_PROCESS_NAME": self.name,
            "NOTIFY_SOCKET": self._notify,
            "PYTHONUNBUFFERED": "1",
        }
        role = (self.role, *self._arguments)
        argv = [sys.executable, "-P", "-m", "annals", *role]
        return Launch(argv, environment, keep=self._keep, role=role, name=self.name)

    def ready(self) -> bool:
        return self.notified

    def level(self, line: str) -> str:
        return "debug" if json_entry(line) else "info"


def plain(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without settings, which are passed separately, and without our own supervisor."""
    return {k: v for k, v in environment.items() if not k.startswith("ANNALS_") and k != "NOTIFY_SOCKET"}


class ForkServer:
    """The fork server as a supervised program, and the client that spawns roles through it."""

    role = name = "nursery"
    once = False
    stop_signal = signal.SIGTERM

    def __init__(self, environment: dict[str, str], notify: str, keep: tuple[int, ...]) -> None:
        self._environment, self._notify, self._keep = environment, notify, keep
        self._ours: socket.socket | None = None
        self._theirs: socket.socket | None = None
        self.notified = False
        self.pid = 0
        """The pid of the fork server that reported readiness."""

    def prepare(self) -> None:
        """Open a new channel for each start of the fork server."""
        self.close()
        self.notified = False
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.settimeout(FORK_SECONDS)

    def launch(self) -> Launch:
        assert self._theirs is not None  # noqa: S101 (prepare made it)
        channel = self._theirs.fileno()
        keep = [word for descriptor in self._keep for word in ("--keep", str(descriptor))]
        argv = [sys.executable, "-P", "-m", "annals.cli.fork_server", "--channel", str(channel), *keep]
        environment = {**self._environment, "NOTIFY_SOCKET": self._notify}
        return Launch(argv, environment, keep=(channel, *self._keep))

    def ready(self) -> bool:
        return self.notified

    def level(self, _line: str) -> str:
        return "info"

    def spawn(self, launch: Launch, output: int) -> int:
        """Start a role with its output on a pipe, and return its pid. The process is a child of the supervisor."""
        if self.notified and self._ours is not None:
            request = {
                "name": launch.name,
                "arguments": launch.role,
                "environment": dict(launch.environment),
                "keep": launch.keep,
            }
            try:
                socket.send_fds(self._ours, [json.dumps(request).encode()], [output])
                return int(self._ours.recv(32))
            except (OSError, ValueError):
                self._end()
        return popen(launch, output)

    def _end(self) -> None:
        """Kill a dead or stuck fork server, so that it forks nothing late; roles start without it until it restarts."""
        self.notified = False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        for end in (self._ours, self._theirs):
            if end is not None:
                end.close()
