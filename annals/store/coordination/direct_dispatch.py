"""Direct dispatch: a process that recorded an execution notifies an idle worker of its host, over a datagram socket.

A notification is a hint that may be lost; the relay sends a job message in any case. Why it is worth having:
docs/adr/0030-direct-dispatch.md.
"""

import asyncio
import itertools
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import msgspec
import structlog

from annals.domain.decoding import UNREADABLE

LOOK_SECONDS = 1.0
"""The longest time until the socket of a new worker is found."""

LONGEST = 16 * 1024
"""Most bytes of a notification; an execution with a longer input waits for the relay."""

_AT_ONCE = 64
_KIND = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC

log = structlog.get_logger(__name__)


class DirectDispatch(msgspec.Struct, frozen=True, array_like=True):
    """A waiting execution as it was recorded: its only event, and its sealed input (empty if that is in Postgres).

    `correlation` is the request that led to it.
    """

    stream: str
    version: int
    position: int
    correlation: str
    state: bytes
    input: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DirectDispatch).decode


def socket_prefix(executors: Sequence[str]) -> str:
    """Return the path prefix of dispatch sockets, beside the executor's socket; empty if that is on another host."""
    path = next((address.removeprefix("unix:") for address in executors if address.startswith("unix:")), "")
    return f"{path}.door-" if path else ""


class DirectDispatcher:
    """Notifies workers. One per process, used on the event loop alone."""

    def __init__(self, prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._name_prefix = os.path.split(prefix)
        self._clock = clock
        self._socket = socket.socket(socket.AF_UNIX, _KIND) if prefix else None
        self._dispatch_sockets: list[str] = []
        self._look_at = 0.0
        self._turns = itertools.count()

    def send(self, direct_dispatch: DirectDispatch) -> None:
        """Notify one worker, each in turn; the next one if the socket of a dead worker was left behind."""
        data = _encode(direct_dispatch)
        if self._socket is None or len(data) > LONGEST:
            return
        dispatch_sockets = self._find_sockets()
        first = next(self._turns)
        for turn in range(len(dispatch_sockets)):
            try:
                self._socket.sendto(data, dispatch_sockets[(first + turn) % len(dispatch_sockets)])
            except BlockingIOError:  # the worker is busy
                return
            except OSError:
                self._look_at = 0.0  # a killed worker left its socket
                continue
            return

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _find_sockets(self) -> list[str]:
        if (now := self._clock()) >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            try:
                names = [name for name in os.listdir(self._folder) if name.startswith(self._name_prefix)]
            except OSError:
                names = []
            self._dispatch_sockets = [os.path.join(self._folder, name) for name in names]
        return self._dispatch_sockets


class DispatchSocket:
    """The socket of a worker. The event loop calls `take` with each notification."""

    def __init__(self, path: Path, take: Callable[[DirectDispatch], None]) -> None:
        """Raises OSError."""
        self._path = path
        self._take = take
        self._socket = socket.socket(socket.AF_UNIX, _KIND)
        try:
            self._socket.bind(str(path))
            path.chmod(0o600)
        except OSError:
            self._socket.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._receive)

    @classmethod
    def open(cls, executors: Sequence[str], take: Callable[[DirectDispatch], None]) -> Self | None:
        """Open a socket beside the socket of the host's executor; return None if that is not possible."""
        prefix = socket_prefix(executors)
        if not prefix:
            return None
        try:
            _remove_dead(prefix)
            return cls(Path(f"{prefix}{secrets.token_hex(4)}"), take)
        except OSError as error:  # the relay still sends this worker job messages
            log.warning("door_not_opened", prefix=prefix, error=str(error))
            return None

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _receive(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = self._socket.recv(LONGEST)
            except OSError:  # no further notification
                return
            try:
                direct_dispatch = _decode(data)
            except UNREADABLE:
                log.warning("knock_unreadable", bytes=len(data))
                continue
            self._take(direct_dispatch)


def _remove_dead(prefix: str) -> None:
    """Remove the sockets that killed workers left behind."""
    path = Path(prefix)
    for dispatch_socket in path.parent.glob(f"{path.name}*"):
        with socket.socket(socket.AF_UNIX, _KIND) as probe:
            try:
                probe.connect(str(dispatch_socket))
            except ConnectionRefusedError:
                dispatch_socket.unlink(missing_ok=True)
            except OSError:
                continue
