"""A Postgres for tests: the embedded one of `annals up`, with a temporary folder.

The folder is in memory if it fits. The databases of a thousand tests are tens of gigabytes, and a disk with a burst
budget stalls for minutes after so many writes.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

from annals.supervisor import postgres
from annals.supervisor.folders import Folders
from annals.supervisor.launch import launched

_MEMORY = Path("/dev/shm")
_NEEDED_BYTES = 4 * 2**30


def _folder() -> Path:
    fits = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _NEEDED_BYTES
    return Path(tempfile.mkdtemp(prefix="annals-tests-", dir=_MEMORY if fits else None))


class Postgres:
    """A server that starts once a session; tests of outages use `crash` and `start`."""

    def __init__(self, access: str = "") -> None:
        """`access` are further lines of pg_hba.conf."""
        self.folders = Folders(_folder())
        self.folders.open()
        self._access = access
        self._embedded = postgres.Postgres(self.folders)
        self._embedded.initialise()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = postgres.DATABASE) -> str:
        return f"postgresql://{postgres.DATABASE}@/{database}?host={self._embedded.sockets}"

    @property
    def sockets(self) -> Path:
        return self._embedded.sockets

    def start(self) -> None:
        embedded = self._embedded
        embedded.prepare()
        with (embedded.cluster / "pg_hba.conf").open("a") as rules:
            rules.write(self._access)
        command = self.command(embedded.command, end_by=embedded.stop_signal.name)
        with (self.folders.data / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while not embedded.ready():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self.folders.data / "postgres.log").read_text())
            time.sleep(0.02)

    def command(self, argv: list[str], *, reach: Sequence[str] = (), end_by: str = "SIGKILL") -> list[str]:
        """Return the command that runs an embedded program as a child of this process and as the server's user."""
        program = self._embedded._program(Path(argv[0]).name)
        folders = [*self._embedded.reach, *reach]
        return launched([program, *argv[1:]], uid=self.folders.service_uid, reach=folders, end_by=end_by)

    def crash(self) -> None:
        """End the server at once, as a power cut does; unflushed writes are lost."""
        self._end(signal.SIGQUIT)

    def close(self) -> None:
        self._end(signal.SIGINT)
        self.folders.clear()
        shutil.rmtree(self.folders.data)

    def execute(self, sql: str, database: str = postgres.DATABASE) -> None:
        with psycopg.connect(self.url(database), autocommit=True) as conn:
            conn.execute(sql.encode())

    def _end(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(timeout=120)
