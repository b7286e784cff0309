"""The folders of a running instance: the data folder, and a short folder for sockets that no sandbox sees.

One file because the run folder's files, its lock and the processes that they name belong together.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from annals.domain.decoding import UNREADABLE

POSTGRES_UID = 60_700
"""Under root, embedded services run as this uid. Distributions assign no such uid, and no sandbox runs as it."""


LOCK_SECONDS = 0.3
"""Longer than a command's own test of the lock, which takes the lock for a moment."""


class InUse(Exception):
    """Another supervisor runs on this data folder."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What other commands need to know of a running instance; readable by its user alone."""

    pid: int
    endpoint: str
    driver: str
    settings: dict[str, str]


class ProcessRow(msgspec.Struct, frozen=True, kw_only=True):
    """A supervised process; `ticks` is its start time in kernel ticks, which shows whether a pid was reused."""

    role: str
    pid: int
    ticks: int
    started_at: str
    state: Literal["starting", "ready", "stopping"]
    doing: str = ""
    restarts: int = 0


class Folders:
    """The data folder and its socket folder; `open` makes both."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.run = data / "run"
        self.sockets = _socket_folder(data)
        self.metrics = self.sockets / "metrics"

    @property
    def service_uid(self) -> int | None:
        """Return the uid of embedded services if it differs from ours."""
        return POSTGRES_UID if os.geteuid() == 0 else None

    def open(self) -> None:
        """Create the folders. Under root other users may traverse but not list them, for the embedded services."""
        passing = 0o711 if self.service_uid else 0o700
        self.data.mkdir(parents=True, exist_ok=True)
        for folder, mode in ((self.data, passing), (self.run, 0o700), (self.sockets, passing)):
            folder.mkdir(exist_ok=True)
            status = folder.lstat()
            if status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode):
                raise InUse(f"{folder} belongs to another user. Choose another folder with --data.")
            folder.chmod(mode)

    def lock(self) -> int:
        """Lock the data folder until this process ends. Raises InUse with the pid of the lock's owner."""
        descriptor = os.open(self.run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_SECONDS
        while not _locks(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                pid = os.pread(descriptor, 32, 0).decode().strip()
                os.close(descriptor)
                raise InUse(f"Annals already runs on {self.data} (pid {pid}). `annals ps` shows it.")
            time.sleep(0.02)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return descriptor

    def locked(self) -> bool:
        """Return True if a supervisor holds the lock."""
        try:
            descriptor = os.open(self.run / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        free = _locks(descriptor, fcntl.LOCK_SH)
        os.close(descriptor)
        return not free

    def write(self, name: str, content: object) -> None:
        """Replace a JSON file of the run folder atomically, without fsync: a power cut may lose it."""
        private_file(self.run / name, msgspec.json.encode(content), durable=False)

    def running(self) -> Running | None:
        """Return the running instance of this data folder, or None."""
        if not self.locked():
            return None
        try:
            return msgspec.json.decode((self.run / "instance.json").read_bytes(), type=Running)
        except (OSError, *UNREADABLE):
            return None

    def processes(self) -> list[ProcessRow]:
        """Return the processes that the last supervisor of this folder recorded, alive or not."""
        try:
            return msgspec.json.decode((self.run / "processes.json").read_bytes(), type=list[ProcessRow])
        except (OSError, *UNREADABLE):
            return []

    def clear(self) -> None:
        """Remove the files that only a running instance needs."""
        for name in ("instance.json", "processes.json"):
            (self.run / name).unlink(missing_ok=True)
        for folder in (*self.sockets.glob("*/"), self.sockets):
            for left in folder.glob("*"):
                if left.is_socket() or left.is_file():
                    left.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()


LIST_RETRY_SECONDS = 1.0
"""Pause before the list of processes is written again after a disk error."""


class ProcessList:
    """Writes the file that `annals ps` shows, whenever a process changes; belongs to the running event loop."""

    def __init__(self, folders: Folders, rows: Callable[[], Sequence[ProcessRow]]) -> None:
        self._folders, self._rows = folders, rows
        self._retrying: asyncio.TimerHandle | None = None

    def write(self) -> None:
        """Write the list now; after an error, for example on a full disk, retry until it is written."""
        self.close()
        try:
            self._folders.write("processes.json", self._rows())
        except OSError:
            self._retrying = asyncio.get_running_loop().call_later(LIST_RETRY_SECONDS, self.write)

    def close(self) -> None:
        """Stop retrying."""
        if self._retrying is not None:
            self._retrying.cancel()
            self._retrying = None


def _locks(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def private_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file atomically, with mode 0600; never follow a link at its name."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    draft.replace(path)


def start_ticks(pid: int) -> int | None:
    """Return the start of a process in kernel ticks; None if it has ended or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _socket_folder(data: Path) -> Path:
    """Return a short path that is the same at each start; a socket path has at most 107 bytes."""
    uid = os.geteuid()
    name = f"annals-{hashlib.sha256(f'{uid} {data}'.encode()).hexdigest()[:10]}"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if uid == 0 and os.access("/run", os.W_OK):
        return Path("/run") / name
    if uid and runtime and len(runtime) < 60 and os.access(runtime, os.W_OK):
        return Path(runtime) / name
    parent = tempfile.gettempdir()
    return Path(parent if len(parent) < 60 else "/tmp") / name  # noqa: S108 (owner and mode are checked by open)
