"""The HTTP client reads valid responses of any form and survives invalid ones."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from annals.executor.drivers.port import UnixAddress
from annals.executor.pool.http_client import (
    ConnectionBroken,
    FunctionResponse,
    InstanceEndpoint,
    ResponseTooLarge,
    request_head,
)
from tests.unit.executor.servers import answering, serving


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="h1-", dir="/tmp") as path:
        yield Path(path)


async def ask(endpoint: InstanceEndpoint, method: str = "GET", body: bytes = b"") -> FunctionResponse:
    connection = await endpoint.connect()
    try:
        async with asyncio.timeout(5):
            return await connection.request(method, request_head(method, "/", [("host", "x")], len(body)), body)
    finally:
        endpoint.give_back(connection)


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, b"hello"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 200, b"hello"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, b"until the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 700 What\r\ncontent-length: 0\r\n\r\n", 700, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 1\r\n\r\nx", 201, b"x"),
    ],
)
async def test_answers_of_every_form_are_read(raw: bytes, status: int, body: bytes, folder: Path) -> None:
    async with serving(folder, answering(raw)) as endpoint:
        answer = await ask(endpoint)

    assert (answer.status, answer.body) == (status, body)


async def test_repeated_headers_keep_their_order_and_connection_headers_are_dropped(folder: Path) -> None:
    lines = (b"Set-Cookie: a", b"connection: close", b"set-cookie: b", b"x-name: \xc3\xa9", b"content-length: 0")
    raw = b"HTTP/1.1 200 OK\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"
    async with serving(folder, answering(raw)) as endpoint:
        answer = await ask(endpoint)

    assert answer.headers == [("set-cookie", "a"), ("set-cookie", "b"), ("x-name", "é"), ("content-length", "0")]


async def test_head_request_ends_with_its_headers(folder: Path) -> None:
    async with serving(folder, answering(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n", hold=True)) as endpoint:
        answer = await ask(endpoint, "HEAD")

    assert answer.headers == [("content-length", "500")]


async def test_connection_is_used_again(folder: Path) -> None:
    served = answering(*[b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d" % n for n in range(3)], hold=True)
    async with serving(folder, served) as endpoint:
        assert [(await ask(endpoint)).body for _ in range(3)] == [b"0", b"1", b"2"]


async def test_connection_that_says_close_is_not_used_again(folder: Path) -> None:
    served = answering(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx", hold=True)
    async with serving(folder, served) as endpoint:
        assert [(await ask(endpoint)).body for _ in range(2)] == [b"x", b"x"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\ncut off",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        os.urandom(3000),
    ],
)
async def test_bytes_that_are_no_response_break_the_call(raw: bytes, folder: Path) -> None:
    async with serving(folder, answering(raw)) as endpoint:
        with pytest.raises(ConnectionBroken):
            await ask(endpoint)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + bytes(2000),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n" + bytes(2000) + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"h%d: x\r\n" % n for n in range(300)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nlong: " + b"x" * 500_000,
        b"HTTP/1.1 200 OK\r\n" + b"x" * 500_000,
    ],
    ids=["body", "chunked body", "headers", "one header", "one name"],
)
async def test_answers_that_are_too_large_are_cut_off(raw: bytes, folder: Path) -> None:
    async with serving(folder, answering(raw, hold=True), limit=1000) as endpoint:
        with pytest.raises((ResponseTooLarge, ConnectionBroken)) as breach:
            await ask(endpoint)

    assert isinstance(breach.value, ResponseTooLarge) or b"x" * 1000 in raw  # a name that long is no HTTP either


async def test_second_answer_to_a_request_is_not_used_for_the_next_request(folder: Path) -> None:
    doubled = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\naHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nb"
    async with serving(folder, answering(doubled, hold=True)) as endpoint:
        assert [(await ask(endpoint)).body for _ in range(2)] == [b"a", b"a"]


async def test_cancelled_call_closes_its_connection(folder: Path) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        closed.set()

    async with serving(folder, never) as endpoint:
        call = asyncio.create_task(ask(endpoint))
        await asked.wait()
        call.cancel()
        async with asyncio.timeout(60):
            await closed.wait()


async def test_link_instead_of_the_socket_is_never_followed(folder: Path) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    async with serving(elsewhere, answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")):
        (folder / "http.sock").symlink_to(elsewhere / "http.sock")

        assert not InstanceEndpoint(UnixAddress(folder, "http.sock"), 1).pin()


async def test_socket_that_is_replaced_after_the_start_is_not_used(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    right, wrong = (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" + word for word in (b"right", b"wrong"))
    async with serving(folder, answering(right)) as endpoint, serving(other, answering(wrong)):
        (folder / "http.sock").rename(folder / "moved.sock")
        (folder / "http.sock").symlink_to(other / "http.sock")

        assert (await ask(endpoint)).body == b"right"


@pytest.mark.parametrize(
    ("target", "headers"),
    [("/\r\nx: y", []), ("/", [("a", "b\r\nx: y")]), ("/", [("a\nb", "c")]), ("/", [("a", "b\0")])],
)
def test_nothing_breaks_out_of_its_line(target: str, headers: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match="line break"):
        request_head("GET", target, headers, 0)
