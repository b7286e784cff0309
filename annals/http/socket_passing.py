"""Passes the API's listening socket to API processes over a unix socket, also between containers.

All processes accept from one queue, in which callers wait while processes are replaced (docs/adr/0044).
"""

import asyncio
import os
import socket
from pathlib import Path

from annals.http.listening import Unavailable

WAIT_SECONDS = 30.0
"""How long an API process waits for the process that passes the socket."""

_PAUSE_SECONDS = 0.2


class SocketPassing:
    """Passes a listening socket to each process that connects to `path`.

    A connection stays open until one end ends, so that each process knows when the socket is no longer the right one.
    """

    def __init__(self, listening: socket.socket, path: Path) -> None:
        """Raises Unavailable."""
        self._listening = listening
        self._path = path
        self._holding: set[asyncio.Task[None]] = set()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.setblocking(False)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            self._server.bind(str(path))
            path.chmod(0o600)
            self._server.listen()
        except OSError as error:
            self._server.close()
            raise Unavailable(f"The API's socket cannot be passed at {path}: {error.strerror}.") from None

    async def run(self) -> None:
        """Pass the socket until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                connection, _ = await loop.sock_accept(self._server)
                connection.setblocking(False)
                task = loop.create_task(self._pass(connection))
                self._holding.add(task)
                task.add_done_callback(self._holding.discard)
        finally:
            for task in self._holding:
                task.cancel()
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _pass(self, connection: socket.socket) -> None:
        with connection:
            try:
                socket.send_fds(connection, [b"\0"], [self._listening.fileno()])
                await asyncio.get_running_loop().sock_recv(connection, 1)
            except OSError:  # the process has ended already
                return


async def receive(path: Path, *, seconds: float = WAIT_SECONDS) -> tuple[socket.socket, socket.socket]:
    """Return the listening socket, and the connection that ends when it is no longer the right one.

    Raises Unavailable if no process passes it within the time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            return await asyncio.to_thread(_receive, connection, path, seconds), connection
        except OSError as error:
            connection.close()
            if loop.time() > deadline:
                raise Unavailable(
                    f"No process passes the API's listening socket at {path} ({error.strerror or error}). Start "
                    "`annals listen`, or leave ANNALS_API_SOCKET empty."
                ) from None
        await asyncio.sleep(_PAUSE_SECONDS)


def _receive(connection: socket.socket, path: Path, seconds: float) -> socket.socket:
    connection.settimeout(seconds)
    connection.connect(str(path))
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
    if not descriptors:
        raise ConnectionResetError("it ended at once")
    connection.setblocking(False)
    os.set_inheritable(descriptors[0], False)
    return socket.socket(fileno=descriptors[0])
