"""The services of an instance on this machine: which are embedded, and the addresses that follow."""

import contextlib
import os
import signal
import time
from pathlib import Path

import msgspec

from annals.http.listening import listen
from annals.settings import Settings
from annals.supervisor.folders import Folders, start_ticks
from annals.supervisor.postgres import Postgres
from annals.supervisor.valkey import Valkey


class FirstKey(msgspec.Struct, frozen=True):
    """The project and the key with all scopes that the first start created."""

    project: str
    key: str


def read_key(data: Path) -> FirstKey:
    """Read `key.json` of the data folder. Raises OSError."""
    return msgspec.json.decode((data / "key.json").read_bytes(), type=FirstKey)


class LocalServices:
    """Creates what is missing; the caller holds the data folder's lock. Raises Unusable, Unavailable, InUse."""

    def __init__(self, settings: Settings, folders: Folders) -> None:
        self.folders = folders
        _end_former(folders)
        own = folders.sockets / "own"
        own.mkdir(mode=0o700, exist_ok=True)
        self.notify_path = own / "notify.sock"
        self.runs_executor = not settings.executor_urls
        self.embedded: list[Postgres | Valkey] = []
        found: dict[str, object] = {"data": folders.data, "metrics_folder": str(folders.metrics)}
        if not settings.database_url:
            postgres = Postgres(folders)
            self.embedded.append(postgres)
            found["database_url"] = postgres.url
        if not settings.redis_url:
            valkey = Valkey(folders)
            self.embedded.append(valkey)
            found["redis_url"] = valkey.url
        if self.runs_executor:
            listen_at = settings.executor_listen or f"unix:{own / 'executor.sock'}"
            found |= {"executor_listen": listen_at, "executor_urls": (listen_at,)}
        self.listening = listen(settings.host, settings.port)
        found["port"] = self.listening.getsockname()[1]
        for service in self.embedded:
            service.initialise()
        self.settings: Settings = msgspec.structs.replace(settings, **found)


def _end_former(folders: Folders) -> None:
    """Wait for the processes of a killed supervisor, and kill those that run on after three seconds.

    Pid and start time identify a process. Postgres is not touched here: its own start handles an older server.
    """
    former = [p for p in folders.processes() if p.pid != os.getpid() and p.role != "postgres"]
    deadline = time.monotonic() + 3
    while left := [p for p in former if p.ticks and start_ticks(p.pid) == p.ticks]:
        if time.monotonic() > deadline:
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.02)
