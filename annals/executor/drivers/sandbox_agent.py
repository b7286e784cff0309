"""The executor's end of `attend.sh`: commands in, what they print and their exit codes out."""

import asyncio
import os
import secrets
import time

from annals.executor.drivers import handles
from annals.executor.drivers.port import Sink
from annals.executor.logs.throttle import printed

READ = 64 * 1024
KILLED = 128 + 9
LATE_SECONDS = 2.0
"""How much longer than its bound a command may take to be reported ended."""

HELPER = ("/usr/bin/bash", "helpers/attend.sh")


class _Command:
    """One command at work: hands on what stands between its two markers. `end` is its code, None if it has none."""

    def __init__(self, sink: Sink) -> None:
        self.marker = secrets.token_hex(16).encode()
        self.end: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._sink = sink
        self._begun = False
        self._held = b""

    def feed(self, piece: bytes) -> None:
        self._held += piece
        if not self._begun:
            _, found, rest = self._held.partition(self.marker + b"\n")
            if not found:  # what an earlier command left running still prints
                self._held = self._held[-len(self.marker) :]
                return
            self._begun, self._held = True, rest
        at = self._held.find(self.marker)
        if at < 0:
            at = len(self._held) - self._beginning()
        if at:
            self._sink(self._held[:at])
            self._held = self._held[at:]
        line, ended, _ = self._held.partition(b"\n")
        if ended and line.startswith(self.marker) and not self.end.done():
            code = line[len(self.marker) :].strip()
            self.end.set_result(int(code) if code.isdigit() else KILLED)

    def _beginning(self) -> int:
        """How many of the last bytes may be the beginning of a marker."""
        most = min(len(self._held), len(self.marker) - 1)
        return next((n for n in range(most, 0, -1) if self._held.endswith(self.marker[:n])), 0)


class SandboxAgent:
    """One pipe in and one terminal out; made on the event loop that reads it. One command runs at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._out, slave = handles.terminal()
        asked, self._in = os.pipe()
        self._handed: tuple[int, ...] = (asked, slave)
        """The sandbox's ends, until `settle` closes them here."""
        os.set_blocking(self._out, False)
        os.set_blocking(self._in, False)
        self._turn = asyncio.Lock()
        self._command: _Command | None = None
        self._open = True
        self._throttle = printed()
        self._loop.add_reader(self._out, self._readable)

    def start_agent(self, command: list[str]) -> tuple[list[str], tuple[int, ...]]:
        """The command line that runs a command, or nothing, and takes others beside it; and the handles it needs."""
        return [*HELPER, *map(str, self._handed), *command], self._handed

    def settle(self) -> None:
        """The sandbox has its ends, or there is no sandbox: then this end closes by itself."""
        for fd in self._handed:
            os.close(fd)
        self._handed = ()

    async def run(self, command: str, seconds: float, sink: Sink) -> int | None:
        """Run one; its exit code, or None where the sandbox ended under it. Raises TimeoutError once it was killed."""
        async with self._turn:
            if not self._open:
                return None
            running = self._command = _Command(sink)
            request = b"\0".join((running.marker, f"{seconds:g}".encode(), command.encode(), b""))
            began = time.monotonic()
            try:
                os.write(self._in, request)  # far less than a pipe holds, and it is empty: commands wait for their turn
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
        if self._open:
            self._open = False
            self._loop.remove_reader(self._out)
            os.close(self._out)
            os.close(self._in)
            if self._command is not None and not self._command.end.done():
                self._command.end.set_result(None)

    def _readable(self) -> None:
        try:
            piece = os.read(self._out, READ)
        except BlockingIOError:
            return
        except OSError:
            piece = b""  # a terminal's way of saying that nobody holds the other end
        if not piece:
            self.close()
            return
        if self._command is not None:
            self._command.feed(piece)
        if wait := self._throttle.read(len(piece)):
            self._loop.remove_reader(self._out)
            self._loop.call_later(wait, self._read_on)

    def _read_on(self) -> None:
        if self._open:
            self._loop.add_reader(self._out, self._readable)
