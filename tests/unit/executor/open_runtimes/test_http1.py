"""The Open Runtimes server over real sockets: requests in pieces, repeated, too large or missing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from annals.executor.open_runtimes import http1
from annals.executor.open_runtimes.errors import ApiError
from annals.executor.open_runtimes.http1 import Server
from annals.executor.open_runtimes.wire import Reply, Request, answered

Send = Callable[..., object]


def limiter(request: Request) -> None:
    if request.headers.get("authorization") != "yes":
        raise ApiError("general_unauthorized")


async def echo(request: Request) -> Reply:
    if request.path == "/fault":
        raise RuntimeError("unforeseen")
    if request.path == "/stream":

        async def pieces() -> "AsyncIterator[bytes]":
            yield b"one"
            yield b"two"

        return Reply(stream=pieces())  # type: ignore[arg-type]
    return answered([request.method, request.path, dict(request.query), len(request.body)])


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server(limiter, echo)
    await made.open("127.0.0.1", 0)
    yield made
    await made.close()


async def talk(server: Server, *pieces: bytes, until: bytes = b"") -> bytes:
    """Everything that comes back, up to the end or to some bytes."""
    assert server._server is not None
    reader, writer = await asyncio.open_connection(*server._server.sockets[0].getsockname())
    heard = b""
    async with asyncio.timeout(60):
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        while piece := await reader.read(65_536):
            heard += piece
            if until and until in heard:
                break
    writer.close()
    return heard


HEAD = b"authorization: yes\r\n"


async def test_request_in_pieces_and_a_second_on_the_same_connection(server: Server) -> None:
    heard = await talk(
        server,
        b"POST /a?b=c%20d HT",
        b"TP/1.1\r\n" + HEAD + b"content-length: 5\r\n\r\nhe",
        b"llo",
        b"GET /second HTTP/1.1\r\nconnection: close\r\n" + HEAD + b"\r\n",
    )

    assert heard.count(b"HTTP/1.1 200 OK") == 2
    assert b'["POST","/a",{"b":"c d"},5]' in heard
    assert heard.endswith(b'["GET","/second",{},0]')


async def test_chunks_are_put_together(server: Server) -> None:
    body = b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    request = b"POST / HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n" + HEAD + b"\r\n" + body

    assert b'["POST","/",{},7]' in await talk(server, request)


async def test_unauthorized_request_is_refused_before_its_body_arrives(server: Server) -> None:
    heard = await talk(server, b"POST / HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n")

    assert heard.startswith(b"HTTP/1.1 401 Unauthorized")
    assert b'"Missing executor key"' in heard
    assert b"connection: close" in heard


async def test_expect_100_continue_is_answered(server: Server) -> None:
    request = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n" + HEAD + b"\r\n"

    assert await talk(server, request, until=b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.1\r\n" + HEAD + b"content-length: 99999999999\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HEAD + b"x: y\r\n" * 300 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HEAD + b"x: " + b"y" * 300_000,
    ],
    ids=["body", "target", "count", "header"],
)
async def test_too_large_request_is_refused(server: Server, request_: bytes) -> None:
    assert (await talk(server, request_)).startswith(b"HTTP/1.1 413 Content Too Large")


async def test_body_that_grows_past_the_bound_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "BODY_BYTES", 1000)
    piece = b"200\r\n" + b"x" * 512 + b"\r\n"
    head = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n" + HEAD + b"\r\n"

    assert (await talk(server, head, piece, piece)).startswith(b"HTTP/1.1 413")
    async with asyncio.timeout(60):
        while server.connections:
            await asyncio.sleep(0.05)
    assert server.held == 0


async def test_all_bodies_together_have_a_bound(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "HELD_BYTES", 1000)
    heard = await talk(server, b"POST / HTTP/1.1\r\ncontent-length: 2000\r\n" + HEAD + b"\r\n" + b"x" * 2000)

    assert heard.startswith(b"HTTP/1.1 503 Service Unavailable")
    assert b"retry-after: 1" in heard


@pytest.mark.parametrize("nonsense", [b"\x16\x03\x01\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
async def test_bytes_that_are_not_http_are_refused(server: Server, nonsense: bytes) -> None:
    assert (await talk(server, nonsense)).startswith(b"HTTP/1.1 400 Bad Request")


async def test_fault_is_a_500_that_says_nothing_and_ends_nothing(server: Server) -> None:
    heard = await talk(
        server,
        b"GET /fault HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"GET /next HTTP/1.1\r\nconnection: close\r\n" + HEAD + b"\r\n",
    )

    assert heard.startswith(b"HTTP/1.1 500")
    assert b"unforeseen" not in heard
    assert heard.endswith(b'["GET","/next",{},0]')


async def test_stream_comes_in_chunks_and_has_an_end(server: Server) -> None:
    heard = await talk(server, b"GET /stream HTTP/1.1\r\nconnection: close\r\n" + HEAD + b"\r\n")

    assert b"transfer-encoding: chunked" in heard
    assert heard.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_silent_connection_is_closed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1._Connection._expect, "__defaults__", (0.1,))

    assert await talk(server, b"GET / HT") == b""


async def test_head_that_trickles_in_has_its_time_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1._Connection._expect, "__defaults__", (0.3,))
    assert server._server is not None
    reader, writer = await asyncio.open_connection(*server._server.sockets[0].getsockname())
    writer.write(b"GET /")
    reading = asyncio.create_task(reader.read())
    async with asyncio.timeout(60):
        while not reading.done():
            writer.write(b"a")
            await asyncio.sleep(0.02)

    with contextlib.suppress(ConnectionResetError):  # the kernel resets where it closed over a byte that came last
        assert await reading == b""
