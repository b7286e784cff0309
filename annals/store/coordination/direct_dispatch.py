"""The doors of a host's workers: who has recorded an execution knocks, and a worker that has nothing to do begins it.

A knock is a hint that may be lost or come to nobody; the relay wakes a worker in any case. Why it is worth having:
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
"""How long it takes at most until the door of a worker that was started is known."""

LONGEST = 16 * 1024
"""Most bytes of a knock: who was given more waits for the relay."""

_AT_ONCE = 64
_KIND = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC

log = structlog.get_logger(__name__)


class DirectDispatch(msgspec.Struct, frozen=True, array_like=True):
    """An execution that waits, as it was recorded: its only event, and what it was given, sealed (empty: in Postgres).

    `correlation` is the request that led to it.
    """

    stream: str
    version: int
    position: int
    correlation: str
    state: bytes
    given: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DirectDispatch).decode


def beside(executors: Sequence[str]) -> str:
    """What the doors' paths begin with: that of the host's executor. Empty where the executor is not of this host."""
    path = next((address.removeprefix("unix:") for address in executors if address.startswith("unix:")), "")
    return f"{path}.door-" if path else ""


class DirectDispatcher:
    """One per process, of the event loop's thread."""

    def __init__(self, prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._begin = os.path.split(prefix)
        self._clock = clock
        self._socket = socket.socket(socket.AF_UNIX, _KIND) if prefix else None
        self._dispatch_sockets: list[str] = []
        self._look_at = 0.0
        self._turns = itertools.count()

    def direct_dispatch(self, direct_dispatch: DirectDispatch) -> None:
        """At one door, of the workers in turn; at the next where nobody is behind it."""
        data = _encode(direct_dispatch)
        if self._socket is None or len(data) > LONGEST:
            return
        dispatch_sockets = self._known()
        first = next(self._turns)
        for turn in range(len(dispatch_sockets)):
            try:
                self._socket.sendto(data, dispatch_sockets[(first + turn) % len(dispatch_sockets)])
            except BlockingIOError:  # whoever is behind it has more to do than to listen
                return
            except OSError:
                self._look_at = 0.0  # left by a worker that was killed
                continue
            return

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _known(self) -> list[str]:
        if (now := self._clock()) >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            try:
                names = [name for name in os.listdir(self._folder) if name.startswith(self._begin)]
            except OSError:
                names = []
            self._dispatch_sockets = [os.path.join(self._folder, name) for name in names]
        return self._dispatch_sockets


class DispatchSocket:
    """A worker's. `take` is told of each knock, in the event loop."""

    def __init__(self, path: Path, take: Callable[[DirectDispatch], None]) -> None:
        """Raises OSError."""
        self._path, self._take = path, take
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
        """Beside the socket of the host's executor; None where there is none, or nothing can be put there."""
        prefix = beside(executors)
        if not prefix:
            return None
        try:
            _clear(prefix)
            return cls(Path(f"{prefix}{secrets.token_hex(4)}"), take)
        except OSError as error:  # the relay wakes this worker as ever
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
            except OSError:  # nothing more
                return
            try:
                direct_dispatch = _decode(data)
            except UNREADABLE:
                log.warning("knock_unreadable", bytes=len(data))
                continue
            self._take(direct_dispatch)


def _clear(prefix: str) -> None:
    """Remove the doors behind which nobody is any more: of workers that were killed."""
    path = Path(prefix)
    for dispatch_socket in path.parent.glob(f"{path.name}*"):
        with socket.socket(socket.AF_UNIX, _KIND) as trying:
            try:
                trying.connect(str(dispatch_socket))
            except ConnectionRefusedError:
                dispatch_socket.unlink(missing_ok=True)
            except OSError:
                continue
