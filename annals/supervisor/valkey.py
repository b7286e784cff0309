"""The embedded Valkey: carries job messages, stores nothing on disk, and listens on one unix socket."""

import signal
import socket

from annals.supervisor import wheels
from annals.supervisor.folders import Folders
from annals.supervisor.postgres import private_folder

MEMORY = "128mb"
"""Far more than ids of waiting work need. Beyond it a send fails, and redelivery sends the message later."""


class Valkey:
    """The wheel's server as a child of the supervisor."""

    role = "valkey"
    stop_signal = signal.SIGTERM

    def __init__(self, folders: Folders) -> None:
        self.folders = folders
        self._programs = wheels.valkey()
        self.folder = folders.sockets / "queue"
        self.socket = self.folder / "valkey.sock"
        self.url = f"unix://{self.socket}?db=0"

    def initialise(self) -> None:
        """Create the folder. Raises Unusable."""
        private_folder(self.folder, self.folders.service_uid)
        self._programs = wheels.valkey().readable_by(self.folders)

    def prepare(self) -> None:
        """Remove the socket of an earlier run."""
        self.socket.unlink(missing_ok=True)

    @property
    def command(self) -> list[str]:
        return [
            f"{self._programs.paths[0]}/valkey-server",
            *("--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--dir", str(self.folder), "--save", "", "--appendonly", "no", "--daemonize", "no"),
            *("--maxmemory", MEMORY, "--maxmemory-policy", "noeviction"),
        ]

    @property
    def reach(self) -> list[str]:
        return [str(self.folder), *self._programs.paths]

    def ready(self) -> bool:
        """Return True if the server answers a PING."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(0.5)
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
