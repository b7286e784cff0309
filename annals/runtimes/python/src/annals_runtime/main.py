"""Starts the server: the wire on a thread of its own, user code on the main one.

One process, whatever `OPEN_RUNTIMES_CPUS` says: more load gets more instances from the executor, each with its own
memory limit, and the share of a processor is the kernel's to enforce. Worker processes inside would multiply the
memory of every function and split its module-level state.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
from types import FrameType

from . import native
from .app import App, connection_factory
from .settings import Wiring

BACKLOG = 1024
PRELOADED = ("ssl", "http.client", "urllib.request", "hashlib", "uuid", "datetime", "decimal", "typing", "base64")


def main() -> None:
    """Serve until the process is ended."""
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    wiring = Wiring()
    loop = asyncio.new_event_loop()
    app = App(wiring, loop)
    if wiring.generic:
        preload()
    loop.run_until_complete(listen(app, wiring.listen))
    print("HTTP server successfully started!", flush=True)
    native.capture()
    threading.Thread(target=loop.run_forever, name="wire", daemon=True).start()
    app.runner.run_forever()


async def listen(app: App, address: str) -> None:
    loop = asyncio.get_running_loop()
    kind, _, place = address.partition(":")
    if kind == "unix":
        await loop.create_unix_server(connection_factory(app), place, backlog=BACKLOG)
        return
    if kind == "fd":  # handed down by whoever started this process, bound already
        await loop.create_unix_server(connection_factory(app), sock=socket.socket(fileno=int(place)), backlog=BACKLOG)
        return
    host, _, port = place.rpartition(":")
    await loop.create_server(connection_factory(app), host, int(port), backlog=BACKLOG)


def preload() -> None:
    """An idle instance already has what most functions import; it is frozen out of later collections."""
    for name in PRELOADED:
        __import__(name)
    gc.collect()
    gc.freeze()


def leave(_signal: int, _frame: FrameType | None) -> None:
    """As the first process of a container this one gets no default handling of signals."""
    sys.stdout.flush()
    os._exit(0)
