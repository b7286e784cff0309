"""The fault-injecting proxy injects the faults that a test asks for, and no others."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.proxy import Proxy
from tests.instance import eventually


@pytest.fixture
def heard() -> list[bytes]:
    """Return the list of bytes that the server behind the proxy receives."""
    return []


@pytest.fixture
def proxy(folder: Path, heard: list[bytes]) -> Iterator[Proxy]:
    """Run a proxy in front of an echo server."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "behind"))
    listening.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=_echo, args=(connection, heard), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    opened = Proxy(folder / "front", folder / "behind").open()
    yield opened
    opened.close()
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def _echo(connection: socket.socket, heard: list[bytes]) -> None:
    with connection:
        try:
            while piece := connection.recv(65536):
                heard.append(piece)
                connection.sendall(piece)
        except OSError:
            return


def connected(proxy: Proxy) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(str(proxy.listen))
    return client


def echoed(client: socket.socket, sent: bytes) -> bytes:
    client.sendall(sent)
    got = b""
    while len(got) < len(sent) and (piece := client.recv(65536)):
        got += piece
    return got


def test_proxy_passes_bytes_on_in_order(proxy: Proxy) -> None:
    with connected(proxy) as client:
        assert echoed(client, bytes(range(256)) * 100) == bytes(range(256)) * 100


def test_cut_ends_open_connections_and_accepts_new_ones(proxy: Proxy) -> None:
    with connected(proxy) as client:
        assert echoed(client, b"a") == b"a"
        proxy.cut()
        assert client.recv(1) == b""
    with connected(proxy) as client:
        assert echoed(client, b"b") == b"b"


def test_connections_are_refused_until_healed(proxy: Proxy) -> None:
    proxy.refuse()
    with pytest.raises(OSError, match="No such file"):
        connected(proxy)
    proxy.heal()
    with connected(proxy) as client:
        assert echoed(client, b"b") == b"b"


def test_hung_bytes_arrive_when_healed(proxy: Proxy) -> None:
    with connected(proxy) as client:
        assert echoed(client, b"a") == b"a"
        proxy.hang()
        client.sendall(b"late")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(4)
        proxy.heal()
        client.settimeout(60)
        assert client.recv(4) == b"late"


def test_swallowed_answer_never_arrives_though_the_request_does(proxy: Proxy, heard: list[bytes]) -> None:
    with connected(proxy) as client, connected(proxy) as other:
        proxy.swallow_answers_to(b"secretly")
        assert echoed(client, b"a") == b"a"
        client.sendall(b"done secretly")
        eventually(lambda: b"secretly" in b"".join(heard))
        assert echoed(other, b"b") == b"b"
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(4)


def test_delay_and_throttle_take_time(proxy: Proxy) -> None:
    with connected(proxy) as client:
        proxy.delay(0.15)
        began = time.monotonic()
        assert echoed(client, b"a") == b"a"
        assert time.monotonic() - began >= 0.3
        proxy.heal()
        proxy.throttle(100_000)
        began = time.monotonic()
        assert echoed(client, b"x" * 20_000) == b"x" * 20_000
        assert time.monotonic() - began >= 0.4


def test_half_closed_connection_still_carries_what_the_client_sends(proxy: Proxy, heard: list[bytes]) -> None:
    with connected(proxy) as client:
        assert echoed(client, b"a") == b"a"
        proxy.half_close()
        assert client.recv(1) == b""
        client.sendall(b"still")
        eventually(lambda: b"still" in b"".join(heard))
