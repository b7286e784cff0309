"""The Open Runtimes server over real sockets: requests in pieces, repeated, too large or missing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from litestar import Request, get, route
from litestar.di import NamedDependency, Provide
from litestar.response import Stream

from annals.executor.open_runtimes import routes
from annals.executor.open_runtimes.errors import rejection_answer
from annals.executor.open_runtimes.routes import BOUNDS, Bodies, create_app
from annals.http.connection import Bounds
from annals.http.http_server import HttpServer
from annals.http.listening import listen


@route(["/", "/a", "/second", "/next"], http_method=["GET", "POST"], status_code=200)
async def echo(request: Request[Any, Any, Any], content: NamedDependency[bytes]) -> list[Any]:
    return [request.method, request.url.path, dict(request.query_params), len(content)]


@get("/fault")
async def fault() -> None:
    raise RuntimeError("unforeseen")


@get("/stream")
async def stream() -> Stream:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    return Stream(pieces())


@get("/endless")
async def endless(ended: NamedDependency[asyncio.Event]) -> Stream:
    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await asyncio.Event().wait()
        finally:
            ended.set()

    return Stream(pieces())


class Serving:
    """A server of the test's routes, and what a client of it hears."""

    def __init__(self, bounds: Bounds = BOUNDS) -> None:
        self.bodies, self.ended = Bodies(), asyncio.Event()
        listening = listen("127.0.0.1", 0)
        self.address = listening.getsockname()
        shared = {"ended": Provide(lambda: self.ended, sync_to_thread=False)}
        app = create_app([echo, fault, stream, endless], "yes", self.bodies, shared)
        self.server = HttpServer(app, listening, rejection_answer, bounds)
        self.task = asyncio.create_task(self.server.run_until_stopped())

    async def close(self) -> None:
        self.server.stop(seconds=0)
        await self.task

    async def talk(self, *pieces: bytes, until: bytes = b"") -> bytes:
        """Return everything that the server sends, up to the end or to some bytes."""
        reader, writer = await asyncio.open_connection(*self.address)
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

    async def without_connections(self) -> None:
        """Wait until all connections are closed."""
        async with asyncio.timeout(60):
            while self.server.server_state.connections:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def serving(bounds: Bounds = BOUNDS) -> AsyncIterator[Serving]:
    made = Serving(bounds)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def server() -> AsyncIterator[Serving]:
    async with serving() as made:
        yield made


HEAD = b"authorization: Bearer yes\r\n"


async def test_request_in_pieces_and_a_second_on_the_same_connection(server: Serving) -> None:
    heard = await server.talk(
        b"POST /a?b=c%20d HT",
        b"TP/1.1\r\n" + HEAD + b"content-length: 5\r\n\r\nhe",
        b"llo",
        b"GET /second HTTP/1.1\r\nconnection: close\r\n" + HEAD + b"\r\n",
    )

    assert heard.count(b"HTTP/1.1 200 OK") == 2
    assert b'["POST","/a",{"b":"c d"},5]' in heard
    assert heard.endswith(b'["GET","/second",{},0]')


async def test_chunks_are_put_together(server: Serving) -> None:
    body = b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    request = b"POST / HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n" + HEAD + b"\r\n" + body

    assert b'["POST","/",{},7]' in await server.talk(request)


async def test_unauthorized_request_is_refused_before_its_body_arrives(server: Serving) -> None:
    heard = await server.talk(b"POST / HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n")

    assert heard.startswith(b"HTTP/1.1 401 Unauthorized")
    assert b'"Missing executor key"' in heard
    assert b"connection: close" in heard


async def test_expect_100_continue_is_answered(server: Serving) -> None:
    request = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n" + HEAD + b"\r\n"

    assert await server.talk(request, until=b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"


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
async def test_too_large_request_is_refused(server: Serving, request_: bytes) -> None:
    heard = await server.talk(request_)

    assert heard.startswith(b"HTTP/1.1 413 ")
    assert b'"type":"general_request_too_large"' in heard


async def test_body_that_grows_past_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "BODY_BYTES", 1000)
    piece = b"200\r\n" + b"x" * 512 + b"\r\n"
    head = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n" + HEAD + b"\r\n"

    async with serving() as server:
        assert (await server.talk(head, piece, piece)).startswith(b"HTTP/1.1 413")
        await server.without_connections()
    assert server.bodies.held == 0


async def test_all_bodies_together_have_a_bound(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "HELD_BYTES", 1000)
    heard = await server.talk(b"POST / HTTP/1.1\r\ncontent-length: 2000\r\n" + HEAD + b"\r\n" + b"x" * 2000)

    assert heard.startswith(b"HTTP/1.1 503 Service Unavailable")
    assert b"retry-after: 1" in heard
    assert server.bodies.held == 0


async def test_body_that_stops_arriving_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "BOUNDS", BOUNDS._replace(silent_seconds=0.1))
    async with serving() as server:
        heard = await server.talk(b"POST / HTTP/1.1\r\ncontent-length: 2000\r\n" + HEAD + b"\r\nx")
        await server.without_connections()

    assert heard.startswith(b"HTTP/1.1 400 ")
    assert server.bodies.held == 0


async def test_connection_over_the_bound_is_refused() -> None:
    async with serving(BOUNDS._replace(connections=1)) as server:
        _, first = await asyncio.open_connection(*server.address)
        heard = await server.talk()
        first.close()

    assert heard.startswith(b"HTTP/1.1 503 ")
    assert b'"type":"general_overloaded"' in heard
    assert b"connection: close" in heard


async def test_waiting_requests_of_a_connection_have_a_bound() -> None:
    request = b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n"
    async with serving(BOUNDS._replace(waiting=3)) as server:
        heard = await server.talk(request * 10)

    assert heard.count(b"HTTP/1.1 200 OK") == 4


@pytest.mark.parametrize("method", [b"OPTIONS", b"HEAD", b"PUT", b"DELETE"])
async def test_other_methods_of_a_route_answer_404(server: Serving, method: bytes) -> None:
    heard = await server.talk(method + b" /a HTTP/1.1\r\nconnection: close\r\n" + HEAD + b"\r\n")

    assert heard.startswith(b"HTTP/1.1 404 Not Found")
    assert (b'"type":"general_route_not_found"' in heard) == (method != b"HEAD")


@pytest.mark.parametrize("nonsense", [b"\x16\x03\x01\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
async def test_bytes_that_are_not_http_are_refused(server: Serving, nonsense: bytes) -> None:
    assert (await server.talk(nonsense)).startswith(b"HTTP/1.1 400 Bad Request")


async def test_fault_is_a_500_without_details_and_the_server_goes_on(server: Serving) -> None:
    heard = await server.talk(
        b"GET /fault HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"GET /next HTTP/1.1\r\nconnection: close\r\n" + HEAD + b"\r\n",
    )

    assert heard.startswith(b"HTTP/1.1 500")
    assert b"unforeseen" not in heard
    assert heard.endswith(b'["GET","/next",{},0]')


async def test_stream_comes_in_chunks_and_has_an_end(server: Serving) -> None:
    heard = await server.talk(b"GET /stream HTTP/1.1\r\nconnection: close\r\n" + HEAD + b"\r\n")

    assert b"transfer-encoding: chunked" in heard
    assert heard.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_disconnect_ends_a_stream(server: Serving) -> None:
    await server.talk(b"GET /endless HTTP/1.1\r\n" + HEAD + b"\r\n", until=b"one")

    async with asyncio.timeout(60):
        await server.ended.wait()


@pytest.mark.parametrize("sent", [b"GET / HT", b"", b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n"])
async def test_silent_connection_is_closed(sent: bytes) -> None:
    head_seconds = BOUNDS.head_seconds if HEAD in sent else 0.1  # a whole head must arrive in time
    async with serving(BOUNDS._replace(head_seconds=head_seconds, silent_seconds=0.1)) as server:
        assert (await server.talk(sent)).count(b"HTTP/1.1 ") == sent.count(HEAD)


async def test_head_that_trickles_in_has_its_time_once() -> None:
    async with serving(BOUNDS._replace(head_seconds=0.3)) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(b"GET /")
        reading = asyncio.create_task(reader.read())
        async with asyncio.timeout(60):
            while not reading.done():
                writer.write(b"a")
                await asyncio.sleep(0.02)

        with contextlib.suppress(ConnectionResetError):  # the kernel resets where it closed over a byte that came last
            assert await reading == b""
