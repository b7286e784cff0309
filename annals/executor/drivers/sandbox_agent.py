"""The executor's end of the sandbox agent (`sandbox_agent.sh`): sends commands, reads their output and exit codes."""

import asyncio
import os
import secrets
import time

from annals.executor.drivers.descriptors import OutputReader, StartDescriptors
from annals.executor.drivers.port import Sink

KILLED = 128 + 9
LATE_SECONDS = 2.0
"""How much longer than its bound a command may take to be reported ended."""

HELPER = ("/usr/bin/bash", "helpers/sandbox_agent.sh")


class _Command:
    """One running command: hands on its output, which stands between two markers.

    `end` is its exit code, or None if the sandbox ended first.
    """

    def __init__(self, sink: Sink) -> None:
        self.marker = secrets.token_hex(16).encode()
        self.end: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._sink = sink
        self._begun = False
        self._buffer = b""

    def feed(self, piece: bytes) -> None:
        self._buffer += piece
        if not self._begun:
            _, found, rest = self._buffer.partition(self.marker + b"\n")
            if not found:  # output of processes that an earlier command left running
                self._buffer = self._buffer[-len(self.marker) :]
                return
            self._begun, self._buffer = True, rest
        at = self._buffer.find(self.marker)
        if at < 0:
            at = len(self._buffer) - self._partial_marker()
        if at:
            self._sink(self._buffer[:at])
            self._buffer = self._buffer[at:]
        line, ended, _ = self._buffer.partition(b"\n")
        if ended and line.startswith(self.marker) and not self.end.done():
            code = line[len(self.marker) :].strip()
            self.end.set_result(int(code) if code.isdigit() else KILLED)

    def _partial_marker(self) -> int:
        """Return how many of the last bytes may be the beginning of a marker."""
        most = min(len(self._buffer), len(self.marker) - 1)
        return next((n for n in range(most, 0, -1) if self._buffer.endswith(self.marker[:n])), 0)


class SandboxAgent:
    """A pipe for commands and a terminal for their output. One command runs at a time.

    Belongs to the event loop that creates it. Its descriptors are `descriptors`' until `open`.
    """

    def __init__(self, descriptors: StartDescriptors) -> None:
        output = descriptors.from_child(terminal=True, inherit=True)
        commands = descriptors.to_child()
        self._out, self._in = output.read, commands.write
        self._arguments = (str(commands.read), str(output.write))
        os.set_blocking(self._in, False)
        self._lock = asyncio.Lock()
        self._command: _Command | None = None
        self._reader: OutputReader | None = None

    def command_line(self, command: list[str]) -> list[str]:
        """Return the command line that starts the agent, and beside it `command`, which may be empty."""
        return [*HELPER, *self._arguments, *command]

    def open(self) -> None:
        """Take over the descriptors and read output: the sandbox has started."""
        self._reader = OutputReader(self._out, self._received, self.close)

    async def run(self, command: str, seconds: float, sink: Sink) -> int | None:
        """Run a command; return its exit code, or None if the sandbox ended first.

        Raises TimeoutError if the command was killed after `seconds`.
        """
        async with self._lock:
            if self._reader is None:
                return None
            running = self._command = _Command(sink)
            request = b"\0".join((running.marker, f"{seconds:g}".encode(), command.encode(), b""))
            began = time.monotonic()
            try:
                os.write(self._in, request)  # fits: the pipe is empty, since commands run one by one
                async with asyncio.timeout(seconds + LATE_SECONDS):
                    code = await running.end
            except OSError as gone:
                if isinstance(gone, TimeoutError):
                    raise
                return None
            finally:
                self._command = None
        if code == KILLED and time.monotonic() - began >= seconds:
            raise TimeoutError
        return code

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
            os.close(self._in)
            if self._command is not None and not self._command.end.done():
                self._command.end.set_result(None)

    def _received(self, piece: bytes) -> None:
        if self._command is not None:
            self._command.feed(piece)
