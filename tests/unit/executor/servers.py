"""Servers for tests: each answers one connection with the configured bytes, valid or not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from annals.executor.drivers.port import UnixAddress
from annals.executor.pool.http_client import InstanceEndpoint

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(folder: Path, handle: Handle, *, limit: int = 1 << 20) -> AsyncIterator[InstanceEndpoint]:
    """An endpoint on a unix socket below a folder, behind which `handle` runs once a connection."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(guarded, str(folder / "http.sock"))
    endpoint = InstanceEndpoint(UnixAddress(folder, "http.sock"), limit)
    assert endpoint.pin()
    try:
        yield endpoint
    finally:
        endpoint.close()
        server.close()


def answering(*pieces: bytes, hold: bool = False) -> Handle:
    """For each request in turn the next piece; then close, or hold the connection open."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(piece)
            await writer.drain()
        if hold:
            await reader.read()

    return handle
