"""Edge cases of HTTP/1.1: malformed requests, chunked bodies, pipelining, sizes and slow clients."""

import json
import re
import socket
import time
from contextlib import suppress

import pytest

from tests.contract.function_server.instance import Instance

CLOSE = b"connection: close\r\n"
MEBIBYTE = 1024 * 1024


def head(method: str = "POST", *lines: str, action: str = "body_text") -> bytes:
    return "\r\n".join([f"{method} / HTTP/1.1", "host: localhost:3000", f"x-action: {action}", *lines, "", ""]).encode()


def converse(instance: Instance, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send bytes, then read until the server closes."""
    with instance.raw() as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            return data
        if not part:
            return data
        data += part


def statuses(data: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/3.0\r\nhost: x\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nbad header: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n: nameless\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\na: b\x00c\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n folded\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1a\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nx: y\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting\r\n\r\n",
    ],
)
def test_malformed_request_is_refused_and_the_connection_ends(instance_b: Instance, request_bytes: bytes) -> None:
    data = converse(instance_b, request_bytes + b"GET /__opr/health HTTP/1.1\r\nhost: x\r\n" + CLOSE + b"\r\n")

    assert statuses(data)[:1] in ([400], [501]), data
    assert b"\r\n\r\nOK" not in data
    assert instance_b.call("text").status == 200


def test_too_large_headers_are_refused(instance_b: Instance) -> None:
    data = converse(instance_b, head("GET", "x-large: " + "x" * 150_000))

    assert statuses(data) == [431]


def test_headers_of_the_api_s_size_pass(instance_b: Instance) -> None:
    answer = instance_b.call("describe", headers={f"x-h{number}": "v" * 500 for number in range(100)})

    assert len(json.loads(answer.body)["headers"]["x-h99"]) == 500


@pytest.mark.parametrize("size", [1, 7, 64])
def test_request_in_small_pieces(instance_b: Instance, size: int) -> None:
    request = head("POST", "content-length: 11", "connection: close") + b"hello world"
    pieces = [request[at : at + size] for at in range(0, len(request), size)]

    data = converse(instance_b, *pieces, pause=0.001)

    assert statuses(data) == [200]
    assert data.endswith(b"\r\n\r\nhello world")


@pytest.mark.parametrize("size", [3, 10_000])
def test_chunked_body(instance_b: Instance, size: int) -> None:
    body = b"5;name=value\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n"
    request = head("POST", "Transfer-Encoding: chunked", "connection: close") + body
    pieces = [request[at : at + size] for at in range(0, len(request), size)]

    data = converse(instance_b, *pieces, pause=0.001)

    assert statuses(data) == [200]
    assert data.endswith(b"\r\n\r\nhello world")


def test_chunked_body_beyond_the_limit_is_refused(instance_b: Instance) -> None:
    chunk = b"100000\r\n" + b"x" * MEBIBYTE + b"\r\n"

    data = converse(
        instance_b, head("POST", "transfer-encoding: chunked", "connection: close"), chunk * 21, b"0\r\n\r\n"
    )

    assert statuses(data) == [413]


def test_expect_100_continue_is_answered(instance_b: Instance) -> None:
    with instance_b.raw() as connection:
        connection.sendall(head("POST", "content-length: 5", "expect: 100-continue", "connection: close"))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hello")
        assert read_all(connection).endswith(b"\r\n\r\nhello")


def test_too_large_body_is_refused_before_it_is_sent(instance_b: Instance) -> None:
    data = converse(instance_b, head("POST", f"content-length: {21 * MEBIBYTE}", "expect: 100-continue"))

    assert statuses(data) == [413]


def test_pipelined_requests_are_answered_in_order(instance_b: Instance) -> None:
    slow = b"GET /?name=slow HTTP/1.1\r\nhost: x\r\nx-action: nap\r\n\r\n"
    quick = b"".join(head("POST", "content-length: 1") + str(number).encode() for number in range(5))
    last = b"GET /__opr/health HTTP/1.1\r\nhost: x\r\n" + CLOSE + b"\r\n"

    data = converse(instance_b, slow + quick + last)

    assert statuses(data) == [200] * 7
    bodies = [part[: part.find(b"HTTP/1.1") if b"HTTP/1.1" in part else None] for part in data.split(b"\r\n\r\n")[1:]]
    assert bodies == [b"slow", b"0", b"1", b"2", b"3", b"4", b"OK"]


def test_many_pipelined_bad_requests_are_answered(instance_a: Instance) -> None:
    count = 3000
    request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    with instance_a.raw() as connection:
        connection.sendall(request * count + b"GET /__opr/health HTTP/1.1\r\nhost: x\r\n" + CLOSE + b"\r\n")
        data = read_all(connection)

    assert statuses(data) == [500] * count + [200]


def test_keep_alive_is_the_default_and_close_is_honoured(instance_b: Instance) -> None:
    with instance_b.raw() as connection:
        for _ in range(3):
            connection.sendall(head("POST", "content-length: 2") + b"ok")
            data = b""
            while not data.endswith(b"\r\n\r\nok"):
                data += connection.recv(1000)
        connection.sendall(head("POST", "content-length: 3", "connection: close") + b"bye")
        data = read_all(connection)

    assert data.endswith(b"\r\n\r\nbye")
    assert b"onnection: close\r\n" in data


def test_http_1_0_ends_the_connection(instance_b: Instance) -> None:
    data = converse(instance_b, b"GET / HTTP/1.0\r\nx-action: text\r\n\r\n")

    assert statuses(data) == [200]
    assert data.endswith("Hello 👋".encode())


def test_whole_url_as_target_is_its_path(instance_b: Instance) -> None:
    request = b"GET http://example.com/a?b=c HTTP/1.1\r\nhost: example.com\r\nx-action: describe\r\n" + CLOSE + b"\r\n"

    seen = json.loads(converse(instance_b, request).partition(b"\r\n\r\n")[2])

    assert (seen["path"], seen["queryString"], seen["host"]) == ("/a", "b=c", "example.com")


def test_slow_client_delays_no_other_client(instance_b: Instance) -> None:
    with instance_b.raw() as connection:
        request = head("POST", "content-length: 5", "connection: close") + b"hello"
        connection.sendall(request[:40])
        assert instance_b.call("text").status == 200
        connection.sendall(request[40:])
        assert read_all(connection).endswith(b"\r\n\r\nhello")


def test_client_that_disconnects_early_affects_no_other_client(instance_b: Instance) -> None:
    for cut in (10, 60, 95):
        with instance_b.raw() as connection:
            connection.sendall((head("POST", "content-length: 50") + b"part")[:cut])
    with instance_b.raw() as connection:
        connection.sendall(b"GET /?name=gone HTTP/1.1\r\nhost: x\r\nx-action: nap\r\n\r\n")

    assert instance_b.call("nap", path="/?name=a").body == b"a"


def test_half_closed_client_still_gets_its_answer(instance_b: Instance) -> None:
    with instance_b.raw() as connection:
        connection.sendall(b"GET /?name=half HTTP/1.1\r\nhost: x\r\nx-action: nap\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        data = read_all(connection)

    assert statuses(data) == [200]
    assert data.endswith(b"half")


def test_body_without_end_is_refused_and_cut_off(instance_b: Instance) -> None:
    piece, sent = b"x" * MEBIBYTE, 0
    with instance_b.raw() as connection:
        connection.sendall(head("POST", f"content-length: {1000 * MEBIBYTE}"))
        with suppress(OSError):
            while sent < 1000:
                connection.sendall(piece)
                sent += 1

    assert 60 < sent < 200
