"""An API process that ends while others serve its address: all whom it accepted are answered, later ones elsewhere."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from granian.constants import Interfaces

from annals.app.cli.leaving import Patience
from annals.app.cli.listening import listen
from annals.app.cli.role_api import SharedServer, Watched

LONG = 60.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Process:
    """What a process runs: a server of its own, here with an application that says whose it is."""

    def __init__(self, name: str, descriptor: int) -> None:
        self._name = name
        self.app = Watched(self._answer)
        options: dict[str, Any] = {"interface": Interfaces.ASGI, "websockets": False, "log_enabled": False}
        self.server = SharedServer(self.app, descriptor, **options)
        self.serving: asyncio.Future[None] = asyncio.ensure_future(self.server.serve())

    async def end(self, **patience: float) -> None:
        await self.server.end(self.app, seconds=LONG, patience=Patience(**patience))
        await self.serving

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for told in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{told}.complete"})
            return
        body = self._name.encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Caller:
    """One connection."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._reading, self._writing = streams

    async def ask(self) -> tuple[str, bool]:
        """Send a request: who answered, and whether the connection closes."""
        self._writing.write(GET)
        head = (await self._reading.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 200")
        length = int(head.partition("content-length: ")[2].partition("\r")[0])
        return (await self._reading.readexactly(length)).decode(), "connection: close" in head

    async def closed(self) -> bool:
        return await self._reading.read() == b""

    def close(self) -> None:
        self._writing.close()


@asynccontextmanager
async def address() -> AsyncIterator[tuple[int, Any]]:
    """A listening socket and a way to call it; every process has a descriptor of its own."""
    callers: list[Caller] = []
    with listen("127.0.0.1", 0) as listening:
        host, port = listening.getsockname()

        async def call() -> Caller:
            callers.append(Caller(await asyncio.open_connection(host, port)))
            return callers[-1]

        async with asyncio.timeout(LONG):
            yield listening.fileno(), call
        for caller in callers:
            caller.close()


def watched(descriptor: int) -> bool:
    """Whether an event queue of this process hears of callers on a listening socket."""
    for entry in Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            if any(line.split()[:2] == ["tfd:", str(descriptor)] for line in entry.read_text().splitlines()):
                return True
    return False


async def test_who_was_accepted_is_answered_and_who_comes_later_is_served_by_another() -> None:
    async with address() as (listening, call):
        ours = os.dup(listening)
        leaving = Process("leaving", ours)
        fresh, kept = await call(), await call()
        assert await kept.ask() == ("leaving", False)  # and so the other one, which came before, is accepted as well

        ending = asyncio.ensure_future(leaving.end(first=LONG, silent=LONG))
        while watched(ours):
            await asyncio.sleep(0.01)
        later = await call()

        assert await fresh.ask() == ("leaving", True)
        assert await kept.ask() == ("leaving", True)
        assert await fresh.closed()
        assert await kept.closed()
        await ending
        other = Process("other", os.dup(listening))
        assert await later.ask() == ("other", False)
        later.close()
        await other.end()


async def test_silent_callers_keep_nobody() -> None:
    async with address() as (listening, call):
        leaving = Process("leaving", os.dup(listening))
        fresh, kept = await call(), await call()
        assert await kept.ask() == ("leaving", False)

        await leaving.end(first=0.1, silent=0.1)

        assert await kept.closed()
        assert await fresh.closed()
