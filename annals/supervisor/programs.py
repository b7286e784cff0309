"""The programs that the supervisor starts: embedded services, and the roles of Annals."""

import os
import signal
import sys
from collections.abc import Mapping

from annals.supervisor.children import Launch
from annals.supervisor.lines import json_entry
from annals.supervisor.postgres import Postgres
from annals.supervisor.valkey import Valkey

WITHOUT_STORE = ("ANNALS_DATABASE_URL", "ANNALS_REDIS_URL", "ANNALS_MASTER_KEY_FILE")
"""Settings that the executor does not get, since user code runs next to it."""


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
