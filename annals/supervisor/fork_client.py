"""The supervisor's side of the fork server: requests processes, or starts them itself while there is no fork server."""

import contextlib
import json
import os
import signal
import socket
import sys

from annals.supervisor.children import Launch, popen

SECONDS = 2.0
"""Longest wait for a fork, which takes milliseconds; after it the supervisor starts the process itself."""


class ForkServer:
    """The fork server as a supervised program, and the client that spawns roles through it."""

    role = name = "nursery"
    once = False
    stop_signal = signal.SIGTERM

    def __init__(self, environment: dict[str, str], notify: str, keep: tuple[int, ...]) -> None:
        self._environment, self._notify, self._keep = environment, notify, keep
        self._ours: socket.socket | None = None
        self._theirs: socket.socket | None = None
        self.notified = False
        self.pid = 0
        """The pid of the fork server that reported readiness."""

    def prepare(self) -> None:
        """Open a new channel for each start of the fork server."""
        self.close()
        self.notified = False
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.settimeout(SECONDS)

    def launch(self) -> Launch:
        assert self._theirs is not None  # noqa: S101 (prepare made it)
        channel = self._theirs.fileno()
        keep = [word for descriptor in self._keep for word in ("--keep", str(descriptor))]
        argv = [sys.executable, "-P", "-m", "annals.cli.fork_server", "--channel", str(channel), *keep]
        environment = {**self._environment, "NOTIFY_SOCKET": self._notify}
        return Launch(argv, environment, keep=(channel, *self._keep))

    def ready(self) -> bool:
        return self.notified

    def level(self, _line: str) -> str:
        return "info"

    def spawn(self, launch: Launch, output: int) -> int:
        """Start a role with its output on a pipe, and return its pid. The process is a child of the supervisor."""
        if self.notified and self._ours is not None:
            request = {
                "name": launch.name,
                "arguments": launch.role,
                "environment": dict(launch.environment),
                "keep": launch.keep,
            }
            try:
                socket.send_fds(self._ours, [json.dumps(request).encode()], [output])
                return int(self._ours.recv(32))
            except (OSError, ValueError):
                self._end()
        return popen(launch, output)

    def _end(self) -> None:
        """Kill a dead or stuck fork server, so that it forks nothing late; roles start without it until it restarts."""
        self.notified = False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        for end in (self._ours, self._theirs):
            if end is not None:
                end.close()
