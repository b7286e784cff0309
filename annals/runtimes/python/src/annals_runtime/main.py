"""Starts the server: HTTP on a separate thread, user code on the main thread.

There is one process for any `OPEN_RUNTIMES_CPUS`: for more load the executor starts more instances, each with its own
memory limit, and the kernel enforces the processor share. Worker processes would multiply the memory of every function
and split its module-level state.
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
    """Serve until the process ends."""
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
    """Import modules that most functions need, in an idle instance, and exclude them from garbage collection."""
    for name in PRELOADED:
        __import__(name)
    gc.collect()
    gc.freeze()


def leave(_signal: int, _frame: FrameType | None) -> None:
    """Handle signals: the first process of a container has no default handlers."""
    sys.stdout.flush()
    os._exit(0)
