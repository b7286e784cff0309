"""The protocol of the executor's port: length-prefixed MessagePack, many requests at once on one connection.

A frame is `u32 length of the rest, u8 kind, u64 request id, payload`, big-endian. The first frame of a connection
verifies that both ends have the same protocol version.
"""

import asyncio
import ssl
import struct
from collections.abc import Callable
from enum import IntEnum, unique
from typing import NamedTuple, cast

import msgspec

from annals.domain.ports import Build, Run
from annals.executor.config import Tls

VERSION = 4
FRAME_LIMIT = 96 * 1024 * 1024
HEAD = struct.Struct(">IBQ")


@unique
class FrameKind(IntEnum):
    """The kind of a frame: requests are below 16, responses from 16."""

    HELLO = 0
    EXECUTE = 1
    BUILD = 2
    CANCEL_BUILD = 3
    CANCEL_EXECUTION = 4
    RETIRE = 5
    STATUS = 6
    WITHDRAW = 7
    OUTPUT = 8
    PREWARM = 9
    PING = 10
    RESULT = 16
    LOG = 17
    FAULT = 18
    NOT_BEGUN = 19


class WorkSubject(msgspec.Struct, frozen=True, array_like=True):
    """The target of a request: a deployment's or an execution's id, and its project."""

    project: str
    id: str


class Prewarm(msgspec.Struct, frozen=True, array_like=True):
    """A request to keep a number of instances that can execute `run` ready for some seconds."""

    run: Run
    instances: int
    seconds: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an executor. `limits` says how each limit is enforced; `work` contains counts."""

    driver: str
    host: str
    runtimes: list[str]
    limits: dict[str, str]
    work: dict[str, int]


encode = msgspec.msgpack.Encoder().encode
decode_run = msgspec.msgpack.Decoder(Run).decode
decode_build = msgspec.msgpack.Decoder(Build).decode
decode_prewarm = msgspec.msgpack.Decoder(Prewarm).decode
decode_subject = msgspec.msgpack.Decoder(WorkSubject).decode


class Frames(asyncio.Protocol):
    """One end of a connection. Calls `received` with each complete frame, and `lost` when the connection ends."""

    def __init__(self, received: Callable[["Frames", int, int, bytes], None], lost: Callable[["Frames"], None]) -> None:
        self._received = received
        self._lost = lost
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.writable = asyncio.Event()
        self.writable.set()
        self.open = False
        self.heard = 0
        """How often bytes have arrived: a host that owes a response and sends nothing counts as hung."""

    @property
    def unsent(self) -> int:
        """Return how many bytes the other end has not accepted yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None and self.open else 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is none of asyncio's
        self._transport.set_write_buffer_limits(high=1024 * 1024)
        self.open = True

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False
        self.writable.set()
        self._lost(self)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def send(self, kind: FrameKind, number: int, payload: bytes = b"") -> None:
        """Queue one frame; does nothing on a lost connection, since `lost` was called."""
        if self._transport is not None and self.open:
            head = HEAD.pack(HEAD.size - 4 + len(payload), kind, number)
            self._transport.writelines((head, payload))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self.heard += 1
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= HEAD.size:
            length, kind, number = HEAD.unpack_from(buffer, start)
            if not HEAD.size - 4 <= length <= FRAME_LIMIT:
                self.abort()
                return
            end = start + 4 + length
            if len(buffer) < end:
                break
            payload = bytes(memoryview(buffer)[start + HEAD.size : end])
            start = end
            self._received(self, kind, number, payload)
        if start:
            del buffer[:start]


class ExecutorAddress(NamedTuple):
    """The address of an executor: a socket's path, or host and port."""

    path: str
    host: str
    port: int


def parse_address(url: str) -> ExecutorAddress:
    """Parse `unix:/path` or `tcp:host:port`. Raises ValueError with a message for operators."""
    scheme, _, rest = url.partition(":")
    if scheme == "unix" and rest.startswith("/"):
        return ExecutorAddress("/" + rest.lstrip("/"), "", 0)
    host, _, port = rest.removeprefix("//").rpartition(":")
    if scheme == "tcp" and host and port.isdigit():
        return ExecutorAddress("", host.strip("[]"), int(port))
    raise ValueError(f"{url!r} is not the address of an executor: use unix:/path/to/socket or tcp:host:port.")


def tls_context(tls: Tls, *, server: bool) -> ssl.SSLContext:
    """Return a context for mutual TLS: both ends need a certificate of the same authority."""
    purpose = ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT
    context = ssl.SSLContext(purpose)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tls.authority)
    context.load_cert_chain(tls.certificate, tls.key)
    return context
