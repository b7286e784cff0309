"""A Postgres for tests: the embedded one of `annals up`, with a temporary folder.

The folder is in memory if it fits. The databases of a thousand tests are tens of gigabytes, and a disk with a burst
budget stalls for minutes after so many writes.

Commits of a `Replicated` Postgres wait for a standby: two servers, joined by a unix socket.
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

_SECONDS = 120.0
_ACCESS = "local replication all trust\n"
"""Peer authentication knows users by name, and the standby runs under a number. The sockets' folder is closed."""


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


class Replicated(Postgres):
    """The primary; `replicate` starts its `standby`."""

    def __init__(self) -> None:
        super().__init__(_ACCESS)
        self.start()
        self.standby = Standby(self)

    def replicate(self) -> None:
        """Create the standby; commits wait for it from now on."""
        self.execute("ALTER SYSTEM SET wal_keep_size = '4GB'")  # a standby that was stopped could never follow again
        self.execute("SELECT pg_reload_conf()")
        self.standby.make()
        self.standby.start()
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.execute("SELECT pg_reload_conf()")
        self.until("SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync'")

    def url_of_both(self) -> str:
        """Return the address of both servers, the standby first, so that the order alone does not find the primary."""
        return f"postgresql://{postgres.DATABASE}@/{postgres.DATABASE}?host={self.standby.sockets},{self.sockets}"

    def until(self, question: str) -> None:
        """Wait until the query is true on the primary."""
        deadline = time.monotonic() + _SECONDS
        with psycopg.connect(self.url(), autocommit=True) as conn:
            while conn.execute(question.encode()).fetchone() != (True,):
                if time.monotonic() > deadline:
                    raise TimeoutError(question)
                time.sleep(0.02)

    def waiting(self) -> None:
        """Wait until a commit waits for the standby."""
        self.until("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")

    def close(self) -> None:
        self.standby.stop()
        super().close()


class Standby:
    """A copy of a primary, which replays its log."""

    def __init__(self, primary: Postgres) -> None:
        self._primary = primary
        self._cluster = primary.folders.data / "standby"
        self.sockets = primary.folders.sockets / "standby"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = postgres.DATABASE) -> str:
        return f"postgresql://{postgres.DATABASE}@/{database}?host={self.sockets}"

    def make(self) -> None:
        for folder in (self._cluster, self.sockets):
            postgres.private_folder(folder, self._primary.folders.service_uid)
        options = ("-X", "stream", "-c", "fast", "-R")
        self._run("pg_basebackup", "-D", str(self._cluster), "-d", self._primary.url(), *options)

    def start(self) -> None:
        """Start the server unless it runs."""
        if self._process is not None:
            return
        command = self._command("postgres", "-D", str(self._cluster), "-c", f"unix_socket_directories={self.sockets}")
        with (self._primary.folders.data / "standby.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=_SECONDS)
            self._process = None

    def promote(self) -> None:
        """Make it a primary that waits for no standby: the setting to wait came after the copy."""
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                with psycopg.connect(self.url(), autocommit=True) as conn:
                    conn.execute("SELECT pg_promote(true, 60)")
                    return
            except psycopg.OperationalError:  # it is still starting
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _run(self, *argv: str) -> None:
        done = subprocess.run(self._command(*argv), capture_output=True, text=True, check=False, timeout=_SECONDS)
        if done.returncode:
            raise RuntimeError(f"{argv[0]} failed: {done.stderr or done.stdout}")

    def _command(self, *argv: str) -> list[str]:
        return self._primary.command([*argv], reach=(str(self._cluster), str(self.sockets)), end_by="SIGINT")
