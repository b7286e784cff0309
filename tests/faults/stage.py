"""An instance whose Postgres, Valkey and executor are separate processes behind fault-injecting proxies."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.faults import canaries, invariants
from tests.faults.proxy import Proxy
from tests.instance import AnnalsInstance, eventually, instance_of_its_own, plain, short_folder
from tests.integration.postgres import Postgres
from tests.integration.workers.valkey import Valkey
from tests.sandboxes import left_by

SANDBOX = MappingProxyType({"ANNALS_DRIVER": "sandbox"})


class OwnExecutor:
    """An `annals executor` with its own socket and data folder; the command `within` starts it."""

    def __init__(
        self, folder: Path, blobs: str, log: Path, *, within: Sequence[str] = (), settings: Mapping[str, str] = SANDBOX
    ) -> None:
        self.socket, self.data = folder / "executor.sock", folder / "executor"
        self._log, self._within = log, within
        self._environment = plain(
            {
                "ANNALS_DATA": str(self.data),
                "ANNALS_BLOBS_URL": blobs,
                "ANNALS_EXECUTOR_LISTEN": f"unix:{self.socket}",
                **settings,
            }
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        command = [*self._within, sys.executable, "-m", "annals", "executor", "--json"]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        eventually(self._listens, 60)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()[-4000:]
        return self.socket.is_socket()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            assert self._process.wait(60) == 0
        assert left_by(self.data) == []


class Stage:
    """`postgres`, `valkey` and `executor` are the servers; `to_…` are the proxies in front of them."""

    def __init__(self, folder: Path, stack: ExitStack, **executor: Any) -> None:
        """Start all servers, proxies and the instance; `executor` holds further arguments of OwnExecutor."""
        self.folder = folder
        self.postgres, self.valkey = Postgres(), Valkey()
        self.postgres.start()
        stack.callback(self.postgres.close)
        self.valkey.start()
        stack.callback(self.valkey.close)
        self.blobs = folder / "blobs"
        self.executor = OwnExecutor(folder, f"file://{self.blobs}", folder / "executor.log", **executor)
        self.executor.start()
        stack.callback(self.executor.stop)
        (folder / "pg").mkdir()
        behind = Path(self.postgres.url().rpartition("host=")[2])
        self.to_postgres = _opened(stack, Proxy(folder / "pg" / ".s.PGSQL.5432", behind / ".s.PGSQL.5432"))
        self.to_valkey = _opened(stack, Proxy(folder / "vk.sock", Path(self.valkey.url.removeprefix("unix://"))))
        self.to_executor = _opened(stack, Proxy(folder / "ex.sock", self.executor.socket))
        self.instance = AnnalsInstance.start(
            folder / "data",
            environment={
                "ANNALS_DATABASE_URL": self.postgres.url().replace(str(behind), str(folder / "pg")),
                "ANNALS_REDIS_URL": f"unix://{folder}/vk.sock?db=0",
                "ANNALS_EXECUTOR_URLS": f"unix:{folder}/ex.sock",
                "ANNALS_BLOBS_URL": f"file://{self.blobs}",
                "ANNALS_LEASE_S": "5",
                "ANNALS_LOG_FORMAT": "json",
                "ANNALS_WORKERS": "2",
            },
        )
        self.instance.executors = {f"unix:{self.executor.socket}": self.executor.data}
        stack.callback(self.instance.stop)
        stack.callback(self.heal)
        self.client = canaries.client(self.instance)
        canaries.plant(self.instance)

    def heal(self) -> None:
        """End every fault of the proxies."""
        for proxy in (self.to_postgres, self.to_valkey, self.to_executor):
            proxy.heal()

    @property
    def outside_folders(self) -> tuple[Path, ...]:
        """The paths outside the data folder that belong to the instance."""
        return self.folder / "executor", self.blobs, self.folder / "executor.log"


def _opened(stack: ExitStack, proxy: Proxy) -> Proxy:
    stack.callback(proxy.close)
    return proxy.open()


@contextmanager
def staged(**executor: Any) -> Iterator[Stage]:
    """Run a stage while inside."""
    with short_folder() as folder, ExitStack() as stack:
        yield Stage(folder, stack, **executor)


def log_entries(log: Path, event: str) -> list[dict[str, Any]]:
    """Return the entries of one event in the JSON log of an instance."""
    entries = (json.loads(line) for line in log.read_text().splitlines() if f'"{event}"' in line)
    return [entry for entry in entries if entry["event"] == event]


@contextmanager
def checked_instance(**environment: str) -> Iterator[AnnalsInstance]:
    """Run an instance with its own services, and check its invariants at the end."""
    with instance_of_its_own(**environment) as running:
        canaries.plant(running)
        yield running
        invariants.check_all(running)
        canaries.check_unreadable(running)


@contextmanager
def paused(*pids: int) -> Iterator[None]:
    """Pause processes while inside."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
