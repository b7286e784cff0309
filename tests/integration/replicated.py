"""A Postgres whose commits wait for a standby: two servers of the embedded binaries, joined by a unix socket."""

import signal
import subprocess
import time

import psycopg

from annals.supervisor import postgres as embedded
from tests.integration.postgres import Postgres

_SECONDS = 120.0
_ACCESS = "local replication all trust\n"
"""Peer authentication knows users by name, and the standby runs under a number. The sockets' folder is closed."""


class Replicated(Postgres):
    """The primary; `replicate` starts its `standby`."""

    def __init__(self) -> None:
        super().__init__(_ACCESS)
        self.start()
        self.standby = Standby(self)

    def replicate(self) -> None:
        """Create the standby; commits wait for it from now on."""
        self.standby.make()
        self.standby.start()
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.execute("SELECT pg_reload_conf()")
        self.until("SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync'")

    def url_of_both(self) -> str:
        """Return the address of both servers, the standby first, so that the order alone does not find the primary."""
        return f"postgresql://{embedded.DATABASE}@/{embedded.DATABASE}?host={self.standby.sockets},{self.sockets}"

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

    def url(self, database: str = embedded.DATABASE) -> str:
        return f"postgresql://{embedded.DATABASE}@/{database}?host={self.sockets}"

    def make(self) -> None:
        for folder in (self._cluster, self.sockets):
            embedded.private_folder(folder, self._primary.folders.service_uid)
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
