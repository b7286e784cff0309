"""API processes that share the listening socket of `annals listen`: callers wait while processes are replaced."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import socket

import pytest

from annals.http.listening import Unavailable, listen
from annals.http.socket_passing import SocketPassing, receive
from tests.instance import short_folder


@asynccontextmanager
async def passing(listening: socket, path: Path) -> AsyncIterator[None]:
    task = asyncio.ensure_future(SocketPassing(listening, path).run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def answered(listening: socket, text: bytes) -> None:
    """Accept one connection and send a text."""
    connection, _ = await asyncio.get_running_loop().sock_accept(listening)
    with connection:
        connection.sendall(text)


async def heard(address: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_processes_accept_from_one_queue_in_which_callers_wait() -> None:
    with short_folder() as folder, listen("127.0.0.1", 0) as listening:
        async with passing(listening, folder / "run" / "api.sock"):
            waiting = asyncio.ensure_future(heard(listening.getsockname()))  # before any process is there
            first, _ = await receive(folder / "run" / "api.sock")
            second, _ = await receive(folder / "run" / "api.sock")
            await answered(first, b"first")
            assert await waiting == b"first"
            first.close()
            waiting = asyncio.ensure_future(heard(listening.getsockname()))
            await answered(second, b"second")
            assert await waiting == b"second"


async def test_process_learns_that_the_passing_process_has_ended() -> None:
    with short_folder() as folder, listen("127.0.0.1", 0) as listening:
        async with passing(listening, folder / "api.sock"):
            _, holder = await receive(folder / "api.sock")
            holder.setblocking(False)
            ended = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(holder, 1))
            await asyncio.sleep(0.1)
            assert not ended.done()
        async with asyncio.timeout(60):
            assert await ended == b""


async def test_process_waits_for_the_socket_and_says_what_is_missing() -> None:
    with short_folder() as folder, listen("127.0.0.1", 0) as listening:
        with pytest.raises(Unavailable, match=r"No process passes .*Start `annals listen`"):
            await receive(folder / "api.sock", seconds=0.1)
        later = asyncio.ensure_future(receive(folder / "api.sock"))
        await asyncio.sleep(0.3)
        async with passing(listening, folder / "api.sock"):
            received, _ = await later
        assert received.getsockname() == listening.getsockname()


async def test_only_the_owner_reaches_the_passing_socket() -> None:
    with short_folder() as folder, listen("127.0.0.1", 0) as listening:
        async with passing(listening, folder / "api.sock"):
            assert (folder / "api.sock").stat().st_mode & 0o777 == 0o600
