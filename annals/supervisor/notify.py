"""The `sd_notify` protocol, which systemd understands too: processes report their state to their supervisor."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

_CREDENTIALS = struct.Struct("3i")
_health_file: Path | None = None


def keep_health_file(path: Path) -> None:
    """From now on, write `path` with each report of a ready process, and remove it when the process stops."""
    global _health_file  # noqa: PLW0603 one process has one state
    _health_file = path
    path.unlink(missing_ok=True)


def notify(**assignments: str) -> None:
    """Send assignments such as `READY="1"` or `STATUS="leads"` to the supervisor, if there is one.

    The call never waits: a supervisor whose buffer is full misses this report and gets the next one.
    """
    if _health_file is not None:
        _write_health(_health_file, assignments)
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    text = "\n".join(f"{name}={value}" for name, value in {**assignments, "MAINPID": str(os.getpid())}.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as connection:
        try:
            connection.connect("\0" + address[1:] if address.startswith("@") else address)
            connection.send(text.encode())
        except OSError:  # the supervisor is stopped, or it ends and this process with it
            return


def _write_health(path: Path, assignments: dict[str, str]) -> None:
    with contextlib.suppress(OSError):  # a health check then sees an old file
        if "STOPPING" in assignments:
            path.unlink(missing_ok=True)
        elif "READY" in assignments:
            path.write_text(assignments.get("STATUS", "") + "\n", encoding="utf-8")


class Notifications:
    """Receives `sd_notify` datagrams at `path` and calls `take` with the sender's pid and its assignments.

    The kernel attaches the pid, so that a process can report its own state alone.
    """

    def __init__(self, path: Path, take: Callable[[int, dict[str, str]], None]) -> None:
        self._path, self._take = path, take
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(path))
        path.chmod(0o600)
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
            for _, kind, content in ancillary:
                if kind == socket.SCM_CREDENTIALS:
                    pid, uid, _ = _CREDENTIALS.unpack(content)
                    lines = data.decode("utf-8", "replace").splitlines()
                    if uid == os.geteuid():
                        self._take(pid, dict(line.split("=", 1) for line in lines if "=" in line))

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._path.unlink(missing_ok=True)
