"""Connections of the API's HTTP server: the limits of heads and bodies, and the timeouts of callers."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from annals.app.edge.error_answers import rejection_answer
from annals.http.connection import Bounds
from annals.http.http_server import BOUNDS, HttpServer
from annals.http.listening import listen

LONG = 60.0
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\n"
LAST = GET + b"Connection: close\r\n\r\n"


async def answered(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the path, the headers and the body of the request; leave the body of `/unread` unread."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    body, more = b"", not scope["path"].endswith("unread")
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    heard = [name.decode() for name, _ in scope["headers"]]
    answer = json.dumps({"path": scope["path"], "headers": heard, "body": body.decode()}).encode()
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def any_status(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the status in the path."""
    if scope["type"] == "lifespan":
        await answered(scope, receive, send)
        return
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": int(scope["path"][1:]), "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def serving(application: Any = answered, bounds: Bounds = BOUNDS) -> AsyncIterator[Any]:
    """A way to call a server: what it says to some bytes until it closes the connection."""
    with listen("127.0.0.1", 0) as listening:
        server = HttpServer(application, listening.dup(), rejection_answer, bounds)
        running = asyncio.ensure_future(server.run_until_stopped())

        async def say(*pieces: bytes) -> bytes:
            reading, writing = await asyncio.open_connection(*listening.getsockname())
            heard = b""
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    writing.write(piece)
                    await writing.drain()
                    await asyncio.sleep(0.01)  # so that they arrive apart
                heard = await reading.read()
            writing.close()
            return heard

        async with asyncio.timeout(LONG):
            yield say
        server.stop(seconds=0)
        await running


@pytest.mark.parametrize("status", [200, 404, 501, 599, 600, 700, 999])
async def test_any_final_status_of_three_digits_goes_out(status: int) -> None:
    async with serving(any_status) as say:
        heard = await say(b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % status)

    assert heard.startswith(b"HTTP/1.1 %d " % status)
    assert heard.endswith(b"\r\n\r\nok")


async def test_bytes_after_a_body_are_not_headers() -> None:
    async with serving() as say:
        chunked = (
            POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhi\r\n0\r\nX-Appwrite-Key: a\r\n\r\n"
        )
        heard = await say(chunked)

    answer = json.loads(heard.partition(b"\r\n\r\n")[2])
    assert answer["body"] == "hi"
    assert "x-appwrite-key" not in answer["headers"]


async def test_as_many_headers_as_allowed_are_read_and_one_more_is_not() -> None:
    async with serving() as say:
        lines = [b"X-%d: a\r\n" % number for number in range(BOUNDS.head_lines - 2)]
        allowed = await say(GET + b"Connection: close\r\n" + b"".join(lines) + b"\r\n")
        refused = await say(GET + b"Connection: close\r\nX: a\r\n" + b"".join(lines) + b"\r\n")

    assert allowed.startswith(b"HTTP/1.1 200")
    assert refused.startswith(b"HTTP/1.1 400")
    assert b"too large. It may have 100 headers and 65536 bytes" in refused


@pytest.mark.parametrize("start", [GET + b"X: ", b"GET /", GET + b"\r\n" + GET + b"X: "])
async def test_bound_of_heads_holds_for_slow_senders(start: bytes) -> None:
    async with serving() as say:
        most = BOUNDS.head_bytes + 256 * 1024  # the read in which a head begins does not count
        pieces = [b"a" * 16_384] * (most // 16_384 + 1)
        heard = await say(start, *pieces)

    assert b"too large" in heard or not heard, "nothing where the rest came too late to hear the answer"


async def test_large_head_in_small_pieces_is_read() -> None:
    lines = [b"X-%d: %s\r\n" % (number, b"a" * 8_000) for number in range(7)]
    async with serving() as say:
        heard = await say(GET, b"Connection: close\r\n", *lines, b"\r\n")

    assert heard.startswith(b"HTTP/1.1 200")


async def test_earlier_request_is_answered_before_a_bad_one_is_refused() -> None:
    async with serving() as say:
        heard = await say(POST + b"Content-Length: 1\r\n\r\n1" + b"GARBAGE\r\n\r\n")

    assert heard.startswith(b"HTTP/1.1 200")
    assert heard.count(b"HTTP/1.1 ") == 1


async def test_upgrade_is_ignored_and_the_next_request_answered() -> None:
    async with serving() as say:
        asked = GET + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"
        tunnel = b"CONNECT b:80 HTTP/1.1\r\nHost: a\r\n\r\n"
        heard = await say(asked + tunnel + b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" + LAST)

    assert heard.count(b"HTTP/1.1 200") == 4
    assert [path in heard for path in (b'"/a"', b'"/b:80"', b'"/*"')] == [True] * 3


async def test_unread_body_closes_the_connection() -> None:
    async with serving() as say:
        heard = await say(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx")

    assert heard.startswith(b"HTTP/1.1 200")


async def test_client_that_still_sends_its_body_reads_the_early_answer() -> None:
    async with serving() as say:
        head = b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n"
        heard = await say(head, *[b"x" * 65_536] * 20)

    assert heard.startswith(b"HTTP/1.1 200")


UNFINISHED = [
    [b""],
    [b"GET /"],
    [GET],
    [b"\r\n"],
    [GET + b"\r\n", b"\r\n"],
    [GET + b"\r\n", GET],
    [GET + b"\r\n" + GET],
]


@pytest.mark.parametrize("sent", UNFINISHED)
async def test_unfinished_head_times_out(sent: list[bytes]) -> None:
    async with serving(bounds=BOUNDS._replace(head_seconds=0.2, silent_seconds=0.2)) as say:
        heard = await say(*sent)

    assert heard.count(b"HTTP/1.1 200") == b"".join(sent).count(b"\r\n\r\n")
