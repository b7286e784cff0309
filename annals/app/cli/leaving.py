"""How an API process leaves a listening socket that others serve too, so that no caller it accepted goes unanswered.

A server that is asked to stop closes each connection on which it is not just working: also one that it accepted a
moment ago and whose first request is on its way. So it is asked only once nothing new is accepted any more, and what
was accepted has been answered or has fallen silent.
"""

import asyncio
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_LOOK_SECONDS = 0.05
_LOOKS = 2
"""In a row that find nothing: a connection may just have been on its way through `accept`."""

_FOLDER = Path("/proc/self")
_TCP_INFO = struct.Struct("=B43xI4xI72xQ")
"""Of the kernel's `struct tcp_info`: state, milliseconds since data was sent and since it came, bytes that came."""

_ESTABLISHED = 1


class Patience(NamedTuple):
    """How long a process waits for what its connections may still bring, in seconds."""

    first: float = 2.0
    """For the first request of a connection: the client's own machine may be busy."""
    silent: float = 1.0
    """For the next one: who called within this time may call again at once, and is told then that it closes."""


PATIENCE = Patience()


async def leave(listening: int, running: Callable[[], int], *, seconds: float, patience: Patience = PATIENCE) -> None:
    """Accept no more, and return once every caller was answered and no more is to be expected, or the time is over."""
    accept_no_more(listening)
    port = _port(listening)
    deadline = time.monotonic() + seconds
    looks = 0
    while looks < _LOOKS and time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_SECONDS)  # the kernel tells nobody when a connection falls silent
        looks = 0 if running() or any(_expects(info, patience) for info in _connections(port)) else looks + 1


def accept_no_more(listening: int) -> None:
    """Take the socket out of the server's event queues: what comes now is accepted by other processes.

    Closed it can't be, since only the server could do that, and shut down it would be for the others as well.
    """
    for entry in (_FOLDER / "fdinfo").iterdir():
        with suppress(OSError):
            watched = {line.split()[1] for line in entry.read_text().splitlines() if line.startswith("tfd:")}
            if str(listening) in watched:
                with select.epoll.fromfd(os.dup(int(entry.name))) as queue:
                    queue.unregister(listening)


def _expects(info: bytes, patience: Patience) -> bool:
    """Whether a request is to be expected on a connection that is not just served."""
    state, since_sent, since_came, came = _TCP_INFO.unpack(info)
    allowed = patience.silent if came else patience.first
    return bool(state == _ESTABLISHED and min(since_sent, since_came) < allowed * 1000)


def _connections(port: int) -> Iterator[bytes]:
    """What the kernel knows of each connection that this process accepted on the port."""
    for entry in (_FOLDER / "fd").iterdir():
        with suppress(OSError):
            if os.readlink(entry).startswith("socket:"):
                yield from _told(int(entry.name), port)


def _told(descriptor: int, port: int) -> Iterator[bytes]:
    looked_at = socket.socket(fileno=descriptor)
    try:
        if looked_at.family in {socket.AF_INET, socket.AF_INET6} and looked_at.getsockname()[1] == port:
            yield looked_at.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    finally:
        looked_at.detach()


def _port(listening: int) -> int:
    looked_at = socket.socket(fileno=listening)
    try:
        return int(looked_at.getsockname()[1])
    finally:
        looked_at.detach()
