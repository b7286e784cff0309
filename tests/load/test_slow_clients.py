"""A thousand connections that send almost nothing: other clients stay served, and memory does not grow."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from tests.client import Client
from tests.instance import AnnalsInstance, eventually, resident

CONNECTIONS = 1000
HEADS = b"POST /v1/functions HTTP/1.1\r\nHost: localhost\r\nX-A: "
BODIES = b"POST /v1/functions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n"
MOST_GROWTH = 150_000_000
"""The bytes that all API processes may grow by: the buffers of a thousand connections and the allocator's reserve."""


@contextmanager
def slow(endpoint: str, headers: dict[str, str]) -> Iterator[list[socket.socket]]:
    """Open connections that stop within a head or within a body, half of each; the bodies come with a valid key."""
    parts = urlsplit(endpoint)
    least = CONNECTIONS + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(least, hard)), hard))
    own = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
    with ExitStack() as stack:
        made = []
        for number in range(CONNECTIONS):
            one = stack.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=60))
            one.sendall(HEADS if number % 2 else BODIES + own + b'\r\n{"functionId": "')
            made.append(one)
        yield made
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.timeout(400)
def test_thousand_slow_clients_do_not_delay_other_clients(annals_instance: AnnalsInstance) -> None:
    client = Client(annals_instance.endpoint, annals_instance.headers)
    function = client.function("beside-slow-ones", "module.exports = async ({ res }) => res.text('served')")
    before = resident(annals_instance)

    with slow(annals_instance.endpoint, annals_instance.headers) as connections:
        for _ in range(3):  # each connection sends one more byte between the requests of other clients
            with Client(annals_instance.endpoint, annals_instance.headers).http as other:
                assert other.get("/functions").status_code == 200
            assert client.execute(function)["responseBody"] == "served"
            for one in connections:
                one.sendall(b"x")
        assert resident(annals_instance) - before < MOST_GROWTH

    def served() -> bool:
        return bool(client.execute(function)["responseBody"] == "served")

    eventually(served)
    assert resident(annals_instance) - before < MOST_GROWTH
