"""The channel on which an instance writes what its functions log: frames, no files, readable while they run."""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from annals.domain.invocation import STORED_OUTPUT_CHARACTERS
from annals.domain.ports import OutputKind, Whole
from annals.executor.folders import open_regular
from annals.executor.spool import Spool, finish_all

KEPT = 5 * 1024 * 1024
TRUNCATED = "\nLog file has been truncated to 5.00MB."
FRAME_LIMIT = 8 * 1024 * 1024
CONNECTIONS = 16
LOGS, ERRORS, END = 0, 1, 2
KINDS: tuple[OutputKind, OutputKind] = ("logs", "errors")
END_SECONDS = 0.5
PIECE = 1024 * 1024

Spooling = Callable[[], Spool | None]
"""Begins to keep one log whole, where that is done."""


class Log:
    """What one execution has logged so far; a log that its record will not hold is spooled whole besides."""

    def __init__(self, spooling: Spooling | None = None) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self._spooling = spooling
        self._spools: dict[int, Spool] = {}
        self._streams: tuple[list[bytes], list[bytes]] = ([], [])
        self._sizes = [0, 0]

    def add(self, kind: int, data: bytes) -> None:
        if spool := self._spools.get(kind):
            spool.add(data)
        elif self._spooling and self._sizes[kind] + len(data) > STORED_OUTPUT_CHARACTERS:
            self._spool(kind, data)
        room = KEPT + 1 - self._sizes[kind]
        if room > 0:
            self._streams[kind].append(data[:room])
            self._sizes[kind] += min(len(data), room)

    def takes(self, kind: int) -> bool:
        """Whether anything of what else is logged will be kept."""
        spool = self._spools.get(kind)
        return self._sizes[kind] <= KEPT or (spool is not None and not spool.full)

    def _spool(self, kind: int, data: bytes) -> None:
        spool = self._spooling() if self._spooling and self._sizes[kind] <= KEPT else None
        if spool is None:
            self._spooling = None
            return
        self._spools[kind] = spool
        for piece in (*self._streams[kind], data):
            spool.add(piece)

    async def whole(self) -> list[Whole]:
        """The logs that were spooled, once nothing is added any more."""
        return await finish_all([(KINDS[kind], spool) for kind, spool in self._spools.items()])

    async def drop(self) -> None:
        """Let go of what was spooled."""
        for spool in self._spools.values():
            await spool.drop()

    def text(self, kind: int) -> str:
        """At most 5 MiB of one stream, with a line that says so when there was more."""
        data = b"".join(self._streams[kind])
        if len(data) > KEPT:
            return data[:KEPT].decode(errors="replace") + TRUNCATED
        return data.decode(errors="replace")


class Logs(Protocol):
    """Where an instance's functions log to."""

    def open(self, log_id: str, spooling: Spooling | None = None) -> Log:
        """Take what is logged under an id from now on."""
        ...

    async def finish(self, log_id: str, log: Log) -> None:
        """Wait until what was logged before an answer has arrived."""
        ...

    async def gather(self, log_id: str, log: Log) -> None:
        """Take what a call has logged that was cut short."""
        ...

    def forget(self, log_id: str) -> None: ...
    def close(self) -> None: ...


class LogFiles:
    """The contract's two files an execution, for servers that know no channel; links are never followed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, _: str, spooling: Spooling | None = None) -> Log:
        return Log(spooling)

    async def finish(self, log_id: str, log: Log) -> None:
        for kind, name in ((LOGS, f"{log_id}_logs.log"), (ERRORS, f"{log_id}_errors.log")):
            try:
                fd = await asyncio.to_thread(open_regular, self._folder, name)
            except OSError:
                continue
            with os.fdopen(fd, "rb") as file:
                while log.takes(kind) and (piece := await asyncio.to_thread(file.read, PIECE)):
                    log.add(kind, piece)
            (self._folder / name).unlink(missing_ok=True)

    async def gather(self, log_id: str, log: Log) -> None:
        await self.finish(log_id, log)

    def forget(self, log_id: str) -> None:
        """Files that are written later go with the instance's folder."""

    def close(self) -> None:
        """Nothing is held open."""


class LogChannel:
    """Listens beside an instance and sorts its frames by execution; frames of unknown ids are dropped."""

    def __init__(self) -> None:
        self._logs: dict[bytes, Log] = {}
        self._server: asyncio.Server | None = None
        self._connections: set[_Frames] = set()

    async def listen(self, folder: Path, name: str) -> None:
        """Listen on a socket that anyone who can reach the folder may write to."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.bind(f"/proc/self/fd/{handle}/{name}")  # a path of its own may be longer than a socket's name can be
            os.chmod(name, 0o666, dir_fd=handle)  # noqa: S103 the folder decides who reaches it
        finally:
            os.close(handle)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._accept, sock=sock)

    def _accept(self) -> "_Frames":
        return _Frames(self._logs, self._connections)

    def open(self, log_id: str, spooling: Spooling | None = None) -> Log:
        log = self._logs[log_id.encode()] = Log(spooling)
        return log

    async def finish(self, _: str, log: Log) -> None:
        """The end is written before the answer, but on another connection: it may be a moment behind."""
        if not log.ended.done():
            await asyncio.wait((log.ended,), timeout=END_SECONDS)

    async def gather(self, log_id: str, log: Log) -> None:
        """It is here already."""

    def forget(self, log_id: str) -> None:
        self._logs.pop(log_id.encode(), None)

    def close(self) -> None:
        if self._server:
            self._server.close()
        for connection in tuple(self._connections):
            connection.close()


class _Frames(asyncio.Protocol):
    def __init__(self, logs: dict[bytes, Log], connections: "set[_Frames]") -> None:
        self._logs = logs
        self._connections = connections
        self._buffer = bytearray()
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._connections.add(self)
        if len(self._connections) > CONNECTIONS:
            transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        self._connections.discard(self)

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= 4:
            (length,) = struct.unpack_from(">I", buffer, start)
            if not 2 <= length <= FRAME_LIMIT:
                self.close()
                return
            end = start + 4 + length
            if len(buffer) < end:
                break
            self._frame(bytes(buffer[start + 4 : end]))
            start = end
        if start:
            del buffer[:start]

    def _frame(self, frame: bytes) -> None:
        kind, width = frame[0], frame[1]
        log = self._logs.get(frame[2 : 2 + width])
        if log is None:
            return
        if kind in (LOGS, ERRORS):
            log.add(kind, frame[2 + width :])
        elif kind == END and not log.ended.done():
            log.ended.set_result(None)
