"""An API process that ends while others serve its address: it answers accepted requests, the others the later ones."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import socket
from typing import Any

from annals.app.edge.error_answers import rejection_answer
from annals.cli.role_api import Watched
from annals.http.http_server import HttpServer, QuietPeriods
from annals.http.listening import listen

LONG = 60.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class ProcessRow:
    """What a process runs: a server of its own, here with an application that says whose it is."""

    def __init__(self, name: str, listening: socket) -> None:
        self._name = name
        self.app = Watched(self._answer)
        self.server = HttpServer(self.app, listening.dup(), rejection_answer)
        self.serving = asyncio.ensure_future(self.server.run_until_stopped())

    async def end(self, **quiet_periods: float) -> None:
        self.app.leaving = True
        await self.server.leave(seconds=LONG, quiet_periods=QuietPeriods(**quiet_periods))
        self.server.stop(seconds=LONG)
        await self.serving

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for answered in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{answered}.complete"})
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
async def address() -> AsyncIterator[tuple[socket, Any]]:
    """A listening socket and a way to call it; every process has a descriptor of its own."""
    callers: list[Caller] = []
    with listen("127.0.0.1", 0) as listening:
        host, port = listening.getsockname()

        async def call() -> Caller:
            callers.append(Caller(await asyncio.open_connection(host, port)))
            return callers[-1]

        async with asyncio.timeout(LONG):
            yield listening, call
        for caller in callers:
            caller.close()


async def test_accepted_requests_are_answered_and_later_ones_go_to_another_process() -> None:
    async with address() as (listening, call):
        leaving = ProcessRow("leaving", listening)
        fresh, kept = await call(), await call()
        assert await kept.ask() == ("leaving", False)  # and so the other one, which came before, is accepted as well

        ending = asyncio.ensure_future(leaving.end(first=LONG, silent=LONG))
        await asyncio.sleep(0)  # till it waits for its callers
        later = await call()

        assert await fresh.ask() == ("leaving", True)
        assert await kept.ask() == ("leaving", True)
        assert await fresh.closed()
        assert await kept.closed()
        await ending
        other = ProcessRow("other", listening)
        assert await later.ask() == ("other", False)
        later.close()
        await other.end()


async def test_idle_connections_do_not_delay_the_stop() -> None:
    async with address() as (listening, call):
        leaving = ProcessRow("leaving", listening)
        fresh, kept = await call(), await call()
        assert await kept.ask() == ("leaving", False)

        await leaving.end(first=0.1, silent=0.1)

        assert await kept.closed()
        assert await fresh.closed()
