"""The channel on which an instance writes its functions' logs: frames on a socket, readable while functions run."""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

from annals.domain.invocation import STORED_OUTPUT_CHARACTERS
from annals.domain.ports import CompleteLog, OutputKind
from annals.executor.isolation.folders import open_regular
from annals.executor.logs.frames import ERRORS, LOGS, FrameError, FrameParser
from annals.executor.logs.spool import Spool, finish_all
from annals.executor.logs.throttle import Rates, Throttle

KEPT = 5 * 1024 * 1024
TRUNCATED = "\nLog file has been truncated to 5.00MB."
KINDS: tuple[OutputKind, OutputKind] = ("logs", "errors")
END_SECONDS = 0.5
PIECE = 1024 * 1024

RATES = Rates(size=16 * 1024 * 1024, items=20_000, reads=4_000, cpu=0.1)
BURST_SECONDS = 0.5
"""Limits on one instance's log frames, in each second and in one burst.

A node instance that serves 1,100 calls a second writes as many frames; half of these rates limited it to 870 calls.
"""

TURN_SECONDS = 0.002
TURN_FRAMES = 256
"""Frames are parsed for this long before the event loop continues; the clock is read after so many frames."""

Spooling = Callable[[], Spool | None]
"""Opens a spool for one long log; returns None if logs are not spooled."""


class ExecutionLog:
    """The log of one execution so far. A log that is too long for the execution's record is also spooled whole."""

    def __init__(self, spooling: Spooling | None = None) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self._spooling = spooling
        self._spools: dict[int, Spool] = {}
        self._streams = (bytearray(), bytearray())

    def add(self, kind: int, data: bytes) -> None:
        stream = self._streams[kind]
        if spool := self._spools.get(kind):
            spool.add(data)
        elif self._spooling and len(stream) + len(data) > STORED_OUTPUT_CHARACTERS:
            self._spool(kind, data)
        space = KEPT + 1 - len(stream)
        if space > 0:
            stream += data[:space]

    def end(self) -> None:
        """Mark the log as complete."""
        if not self.ended.done():
            self.ended.set_result(None)

    def takes(self, kind: int) -> bool:
        """Return True if further output will be stored."""
        spool = self._spools.get(kind)
        return len(self._streams[kind]) <= KEPT or (spool is not None and not spool.full)

    def _spool(self, kind: int, data: bytes) -> None:
        spool = self._spooling() if self._spooling and len(self._streams[kind]) <= KEPT else None
        if spool is None:
            self._spooling = None
            return
        self._spools[kind] = spool
        for piece in (bytes(self._streams[kind]), data):
            spool.add(piece)

    async def whole(self) -> list[CompleteLog]:
        """Store the spooled logs; call it after the last `add`."""
        return await finish_all([(KINDS[kind], spool) for kind, spool in self._spools.items()])

    async def drop(self) -> None:
        """Discard the spools."""
        for spool in self._spools.values():
            await spool.drop()

    def text(self, kind: int) -> str:
        """Return at most 5 MiB of one stream; a line at its end says if it was truncated."""
        data = self._streams[kind]
        if len(data) > KEPT:
            return data[:KEPT].decode(errors="replace") + TRUNCATED
        return data.decode(errors="replace")


class InstanceLogs(Protocol):
    """Collects the logs of an instance's executions."""

    def open(self, log_id: str, spooling: Spooling | None = None) -> ExecutionLog:
        """Begin to collect output with this id."""
        ...

    async def finish(self, log_id: str, log: ExecutionLog) -> None:
        """Wait until output that was written before the response has arrived."""
        ...

    async def gather(self, log_id: str, log: ExecutionLog) -> None:
        """Collect the output of a call that was cut short."""
        ...

    def forget(self, log_id: str) -> None: ...
    def close(self) -> None: ...


class LogFiles:
    """The contract's two log files of an execution, for servers without the channel; links are never followed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, _: str, spooling: Spooling | None = None) -> ExecutionLog:
        return ExecutionLog(spooling)

    async def finish(self, log_id: str, log: ExecutionLog) -> None:
        for kind, name in ((LOGS, f"{log_id}_logs.log"), (ERRORS, f"{log_id}_errors.log")):
            try:
                fd = await asyncio.to_thread(open_regular, self._folder, name)
            except OSError:
                continue
            with os.fdopen(fd, "rb") as file:
                while log.takes(kind) and (piece := await asyncio.to_thread(file.read, PIECE)):
                    log.add(kind, piece)
            (self._folder / name).unlink(missing_ok=True)

    async def gather(self, log_id: str, log: ExecutionLog) -> None:
        await self.finish(log_id, log)

    def forget(self, log_id: str) -> None:
        """Do nothing: files that are written later are removed with the instance's folder."""

    def close(self) -> None:
        """Do nothing: no file stays open."""


class LogChannel:
    """Listens for an instance's function server, and assigns its frames to executions.

    The server connects once, before it loads any code; no other process can connect later. If bytes arrive that are
    no frames, `fault` is called once, with a predicate for a sentence about the instance.
    """

    def __init__(self, fault: Callable[[str], None] = lambda _: None) -> None:
        self._fault = fault
        self._logs: dict[bytes, ExecutionLog] = {}
        self._server: asyncio.Server | None = None
        self._reader: _FrameReader | None = None

    async def listen(self, folder: Path, name: str) -> None:
        """Listen on a socket in a folder: every process that can reach the folder can connect."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.bind(f"/proc/self/fd/{handle}/{name}")  # the full path may be too long for a socket's address
            os.chmod(name, 0o666, dir_fd=handle)  # noqa: S103 the folder's permissions limit access
        finally:
            os.close(handle)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _FrameReader(self._logs, self._admit), sock=sock)

    def _admit(self, reader: "_FrameReader") -> Callable[[str], None] | None:
        """Accept the first connection and stop listening; return None for a second one."""
        if self._reader is not None:
            return None
        self._reader = reader
        if self._server:
            self._server.close()
        return self._fault

    def open(self, log_id: str, spooling: Spooling | None = None) -> ExecutionLog:
        log = self._logs[log_id.encode()] = ExecutionLog(spooling)
        return log

    async def finish(self, _: str, log: ExecutionLog) -> None:
        """Wait a moment for the end frame: it is written before the response, but on another connection."""
        if not log.ended.done():
            await asyncio.wait((log.ended,), timeout=END_SECONDS)

    async def gather(self, log_id: str, log: ExecutionLog) -> None:
        """Do nothing: frames arrive by themselves."""

    def forget(self, log_id: str) -> None:
        self._logs.pop(log_id.encode(), None)

    def close(self) -> None:
        if self._server:
            self._server.close()
        if self._reader:
            self._reader.close()


class _FrameReader(asyncio.Protocol):
    """Reads one connection in short slices and within its rates; unread bytes stay in the socket.

    A function that writes faster blocks, and costs the executor no memory and no time of other instances.
    """

    def __init__(
        self, logs: dict[bytes, ExecutionLog], admit: "Callable[[_FrameReader], Callable[[str], None] | None]"
    ) -> None:
        self._admit = admit
        self._fault: Callable[[str], None] | None = None
        self._parser = FrameParser(logs)
        self._throttle = Throttle(RATES, BURST_SECONDS)
        self._data = b""
        self._at = 0
        self._next: asyncio.Handle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is none of asyncio's
        self._fault = self._admit(self)
        if self._fault is None:
            self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None

    def close(self) -> None:
        """Stop reading, and drop bytes that have arrived but are not parsed."""
        if self._next:
            self._next.cancel()
        self._data, self._at = b"", 0
        if self._transport:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._data, self._at = self._data[self._at :] + data, 0
        if self._next is None:
            self._turn(read=len(data))

    def _turn(self, read: int = 0) -> None:
        """Parse for a moment; then read more, or schedule the rest so that other tasks run in between."""
        self._next = None
        began = time.thread_time()
        parsed = 0
        try:
            while self._at < len(self._data):
                self._at, frames = self._parser.feed(self._data, self._at, TURN_FRAMES)
                parsed += frames
                if time.thread_time() - began >= TURN_SECONDS:
                    break
        except FrameError as error:
            self.close()
            if self._fault:
                self._fault(str(error))
            return
        cpu = time.thread_time() - began
        wait = self._throttle.spend(size=read, items=parsed, reads=1 if read else 0, cpu=cpu)
        if wait or self._at < len(self._data):
            if self._transport:
                self._transport.pause_reading()
            self._next = asyncio.get_running_loop().call_later(wait, self._turn)
        elif self._transport:
            self._transport.resume_reading()
