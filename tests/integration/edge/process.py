"""API processes for tests: `annals api` as an instance runs it, one for each test, over the test's database and
executor.

They are forked from a process that has imported everything and inherit one listening socket, as with `annals up`. Each
costs a tenth of a second of processor time, and callers wait in the socket's queue until it accepts.
"""

import ctypes
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import msgspec

from annals.http.listening import listen
from annals.settings import Settings, as_environment
from annals.supervisor.children import popen
from annals.supervisor.programs import ForkServer, Role, plain
from tests.integration.edge.wire import Address

LOOPBACK = "127.0.0.1"
START_SECONDS = 120
_SUBREAPER = 36


class Processes:
    """Forks the API processes of a test session. Each in turn serves the same address."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="annals-edge-", dir="/tmp"))  # sockets need short paths
        self._listening = listen(LOOPBACK, 0)
        self._numbers = count(1)
        self._notify = self.folder / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as answer:
            answer.bind(str(self._notify))
            answer.settimeout(START_SECONDS)
            self._forks = ForkServer(plain(os.environ), str(self._notify), (self._listening.fileno(),))
            self._forks.prepare()
            with (self.folder / "nursery.log").open("ab") as log:
                self._forks.pid = popen(self._forks.launch(), log.fileno())
            assert b"READY=1" in answer.recv(1024)
        self._forks.notified = True

    @property
    def address(self) -> Address:
        return Address(LOOPBACK, self._listening.getsockname()[1])

    def executor_socket(self) -> Path:
        """Return a path that no other test's executor has used."""
        return self.folder / f"executor-{next(self._numbers)}"

    @contextmanager
    def api(self, settings: Settings, executor: Path) -> Iterator[Path]:
        """Run one process with these settings until the end of the block; yield its log."""
        ours = {"executor_urls": (f"unix:{executor}",), "trusted_proxies": (LOOPBACK,)}
        environment = as_environment(msgspec.structs.replace(settings, **ours))
        descriptor = self._listening.fileno()
        role = Role(
            "api",
            environment,
            str(self._notify),
            keep=(descriptor,),
            arguments=("--listen-fd", str(descriptor)),
        )
        log = self.folder / f"api-{next(self._numbers)}.log"
        with log.open("ab") as writing:
            pid = self._born(role, writing.fileno())
        try:
            yield log
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), f"the API ended by itself:\n{log.read_text()}"
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _born(self, role: Role, output: int) -> int:
        """Return the new process's pid. It becomes a child of this process, which adopts orphans meanwhile."""
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(_SUBREAPER, 1)
        try:
            pid = self._forks.spawn(role.launch(), output)
            deadline = time.monotonic() + START_SECONDS
            while _parent(pid) != os.getpid():
                assert time.monotonic() < deadline, "it was not handed over"
                time.sleep(0.001)
            return pid
        finally:
            prctl(_SUBREAPER, 0)

    def close(self) -> None:
        os.kill(self._forks.pid, signal.SIGKILL)
        os.waitpid(self._forks.pid, 0)
        self._forks.close()
        self._listening.close()
        shutil.rmtree(self.folder)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
