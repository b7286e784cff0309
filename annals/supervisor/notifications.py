"""The supervisor's ear: what its processes tell of themselves, believed for their own pid alone."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

_CREDENTIALS = struct.Struct("3i")


class Notifications:
    """Receives `sd_notify` datagrams at `path` and hands on (pid, assignments)."""

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
