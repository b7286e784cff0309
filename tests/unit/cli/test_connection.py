"""A connection passes a request's Host headers to the application, and reports that the client has disconnected."""

import asyncio
from typing import Any

import pytest
from uvicorn.server import ServerState

from annals.app.edge.error_answers import rejection_answer
from annals.http.connection import Bounds, HttpConfig, HttpConnection


class FakeTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        return

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return


def connected(app: Any, transport: FakeTransport) -> HttpConnection:
    config = HttpConfig(app, rejection_answer, Bounds())
    config.load()
    connection = HttpConnection(config=config, server_state=ServerState(), app_state={})
    connection.connection_made(transport)
    return connection


async def hosts(head: bytes) -> tuple[list[bytes], str]:
    """Return a request's Host headers and path as the application sees them."""
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope)

    connection = connected(app, FakeTransport())
    connection.data_received(head)
    await asyncio.gather(*connection.tasks)
    connection.connection_lost(None)
    [scope] = seen
    return [value for name, value in scope["headers"] if name == b"host"], scope["path"]


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        (b"/v1/health", b"a.test", [b"a.test"]),
        (b"http://a.test/v1/health", b"a.test", [b"a.test"]),
        (b"http://A.test/v1/health", b"a.test", [b"a.test"]),
        (b"https://a.test:8443/v1/health?b#c", b"a.test:8443", [b"a.test:8443"]),
        (b"http://b.test/v1/health", b"a.test", [b"a.test", b"b.test"]),
        (b"http://a.test:81/v1/health", b"a.test", [b"a.test", b"a.test:81"]),
        (b"http://a.test@b.test/v1/health", b"a.test", [b"a.test", b"a.test@b.test"]),
    ],
)
async def test_host_of_an_absolute_url_is_compared_with_the_header(
    target: bytes, host: bytes, expected: list[bytes]
) -> None:
    found, path = await hosts(b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, host))

    assert found == expected
    assert path == "/v1/health"


async def test_host_of_an_absolute_url_replaces_a_missing_header() -> None:
    assert await hosts(b"GET http://b.test/x HTTP/1.1\r\n\r\n") == ([b"b.test"], "/x")


async def test_disconnect_reaches_the_running_request_despite_a_pipelined_one() -> None:
    """A client may send a second request at once, and close before the first one is answered."""
    received: list[str] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        received.append((await receive())["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"late"})

    transport = FakeTransport()
    connection = connected(app, transport)
    connection.data_received(b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\nGET /b HTTP/1.1\r\nHost: a.test\r\n\r\n")
    await asyncio.sleep(0)
    connection.connection_lost(ConnectionResetError())
    async with asyncio.timeout(10):
        await asyncio.gather(*connection.tasks)

    assert received == ["http.disconnect"]
    assert transport.written == b"", "uvloop raises for bytes that are written to a connection that has gone"
