"""The supervisor's side of the nursery: asks for newborn processes, and starts them by itself where it can't."""

import contextlib
import json
import os
import signal
import socket
import sys

from annals.supervisor.children import Launch, popen

SECONDS = 2.0
"""A fork takes milliseconds; one that does not come is done without."""


class Forks:
    """The nursery as a program to supervise, and the way to have roles born in it."""

    role = name = "nursery"
    once = False
    stop_signal = signal.SIGTERM

    def __init__(self, environment: dict[str, str], notify: str, keep: tuple[int, ...]) -> None:
        self._environment, self._notify, self._keep = environment, notify, keep
        self._ours: socket.socket | None = None
        self._theirs: socket.socket | None = None
        self.notified = False
        self.pid = 0
        """Of the nursery that said it is ready."""

    def prepare(self) -> None:
        """A channel of its own for each life."""
        self.close()
        self.notified = False
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.settimeout(SECONDS)

    def launch(self) -> Launch:
        assert self._theirs is not None  # noqa: S101 (prepare made it)
        channel = self._theirs.fileno()
        keep = [word for descriptor in self._keep for word in ("--keep", str(descriptor))]
        argv = [sys.executable, "-P", "-m", "annals.supervisor.fork_server", "--channel", str(channel), *keep]
        environment = {**self._environment, "NOTIFY_SOCKET": self._notify}
        return Launch(argv, environment, keep=(channel, *self._keep))

    def ready(self) -> bool:
        return self.notified

    def level(self, _line: str) -> str:
        return "info"

    def spawn(self, launch: Launch, output: int) -> int:
        """Start a role with its output on a pipe, and return its pid; it is a child of this process."""
        if self.notified and self._ours is not None:
            told = {
                "name": launch.name,
                "arguments": launch.role,
                "environment": dict(launch.environment),
                "keep": launch.keep,
            }
            try:
                socket.send_fds(self._ours, [json.dumps(told).encode()], [output])
                return int(self._ours.recv(32))
            except (OSError, ValueError):
                self._end()
        return popen(launch, output)

    def _end(self) -> None:
        """It is dead or stuck. Ended for good it bears nobody late; until its next life, roles start without it."""
        self.notified = False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        for end in (self._ours, self._theirs):
            if end is not None:
                end.close()
