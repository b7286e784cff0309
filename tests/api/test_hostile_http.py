"""Hostile HTTP: ambiguous requests, endless heads, and connections that end early.

No answer has status 500, no hidden request is served, and other clients stay served.
"""

import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.test_wire import head
from tests.api.wire import NODE, Wire
from tests.client import Client
from tests.fuzz.answers import fault_of, read_answers
from tests.instance import AnnalsInstance, eventually, flat

HIDDEN = b"GET /v1/health/version HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /v1/health/version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
POST = b"POST /v1/functions HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /v1/health/version HTTP/1.1\r\nHost: localhost\r\n"
PART = b'--x\r\nContent-Disposition: form-data; name="code"; filename="code.tar.gz"\r\n\r\n'
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module", autouse=True)
def memory(annals_instance: AnnalsInstance) -> Iterator[None]:
    """Check that the API processes do not grow during these tests."""
    with flat(annals_instance):
        yield


@pytest.fixture(scope="module")
def wire(annals_instance: AnnalsInstance) -> Wire:
    return Wire(annals_instance.endpoint)


@pytest.fixture(scope="module")
def client(annals_instance: AnnalsInstance) -> Client:
    return Client(annals_instance.endpoint, annals_instance.headers)


@pytest.fixture(scope="module")
def function(client: Client) -> str:
    return client.function("hostile-node", NODE)


@pytest.fixture(autouse=True)
def _others_stay_served(client: Client) -> Iterator[None]:
    yield
    assert client.call("GET", "/health/version")["version"]


AMBIGUOUS = {
    "length and chunks": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX",
    "a length said twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 3\r\n\r\n{}",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n{}",
    "a hexadecimal length": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a length beyond numbers": POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "a space before the colon of a length": POST + b"Content-Length : 2\r\n\r\n{}",
    "a space before the colon of chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunks by another word": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding that is none": POST + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
    "chunks that are not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunks said twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunks of HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded header": GET + b"X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n",
    "a bare return in a header": GET + b"X-A: b\rTransfer-Encoding: chunked\r\n\r\n",
    "a NUL in a header": GET + b"X-A: b\0c\r\n\r\n",
    "a NUL in the path": b"GET /v1/health\0/version HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method that is none": b"G\xffT / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another version": GET.replace(b"1.1", b"3.7") + b"\r\n",
    "a chunk of negative size": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk with a prefix": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk beyond numbers": CHUNKED + b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "a chunk that ends otherwise": CHUNKED + b"2\n{}\n0\n\n",
    "a length behind the chunks": CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 50\r\n\r\n",
    "a chunk without an end": CHUNKED + b"2\r\n{}X0\r\n\r\n",
    "the hello of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500,
}
PLAIN = {
    "an extension of a chunk": CHUNKED + b"2;a=b\r\n{}\r\n0\r\n\r\n",
    "trailers that look like headers": CHUNKED + b"2\r\n{}\r\n0\r\nX-Appwrite-Key: a\r\nX-A: b\r\n\r\n",
    "a body of a GET": GET + b"Content-Length: 5\r\n\r\nhello",
    "a body that was announced": POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    "no host": b"GET /v1/health/version HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: evil.example\r\n\r\n",
    "a whole URL": b"GET http://evil.example/v1/health/version HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a star": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method of another protocol": b"PROPFIND /v1/functions HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "steps upwards": b"GET /v1/functions/../health/version HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bytes that are no text": b"GET /v1/functions/%ff%ed%a0%80%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguous_request_ends_the_connection_and_its_hidden_request_is_not_answered(wire: Wire, name: str) -> None:
    statuses, ended = wire.say(AMBIGUOUS[name] + HIDDEN)

    assert len(statuses) == 1, "the hidden request was served"
    assert 400 <= statuses[0] < 500
    assert ended


@pytest.mark.parametrize("name", PLAIN)
def test_unusual_but_clear_request_and_the_next_one_are_answered_once(wire: Wire, name: str) -> None:
    statuses, _ = wire.say(PLAIN[name] + LAST)

    assert statuses[1:] == [200]
    assert statuses[0] < 500


def test_request_for_two_hosts_is_refused(wire: Wire) -> None:
    assert wire.say(PLAIN["two hosts"] + LAST)[0] == [400, 200]


def test_request_whose_url_names_another_host_than_its_header_is_refused(wire: Wire) -> None:
    assert wire.say(PLAIN["a whole URL"] + LAST)[0] == [400, 200]
    same = b"GET http://localhost/v1/health/version HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert wire.say(same + LAST)[0] == [200, 200]


@pytest.mark.parametrize("host", [b"\xff", b"a b", b"a:b", b"a\tb", b"%00", b"a/b", b"[::1", b"a@b", b"-", b'"'])
def test_invalid_host_is_answered_in_the_envelope(wire: Wire, host: bytes) -> None:
    with wire.connect() as one:
        one.sendall(LAST.replace(b"localhost", host))
        received = b""
        while piece := one.recv(65536):
            received += piece

    [answer] = read_answers(received)
    assert answer.status < 500
    assert fault_of(answer) is None


OVERSIZED = {
    "a header": (GET + b"X-A: " + b"a" * 1_000_000 + b"\r\n\r\n", 431),
    "headers": (GET + b"".join(b"X-%d: a\r\n" % n for n in range(1000)) + b"\r\n", 431),
    "a header without an end": (GET + b"X-A: " + b"a" * 1_000_000, 431),
    "a path": (b"GET /v1/" + b"a" * 600_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
    "a method": (b"G" * 1_000_000, 431),
}


@pytest.mark.parametrize("name", OVERSIZED)
def test_oversized_heads_are_refused_and_cut_off(wire: Wire, name: str) -> None:
    sent, status = OVERSIZED[name]

    statuses, ended = wire.say(sent)

    assert statuses in ([status], [400], []), "a client that still sends may miss the answer"
    assert ended


def test_client_that_disconnects_during_a_call_loses_only_the_answer(
    client: Client, wire: Wire, function: str, annals_instance: AnnalsInstance
) -> None:
    body = b'{"path":"/slow"}'
    sent = head(annals_instance, f"/functions/{function}/executions", "application/json", len(body)) + body
    wires = [wire.connect() for _ in range(5)]
    for one in wires:
        one.sendall(sent)
    slow = {"queries[]": json.dumps({"method": "equal", "attribute": "requestPath", "values": ["/slow"]})}

    def rows() -> list[dict[str, str]]:
        found: list[dict[str, str]] = client.call("GET", f"/functions/{function}/executions", params=slow)["executions"]
        return found

    eventually(lambda: len(rows()) == 5)
    for one in wires:
        one.close()

    eventually(lambda: {row["status"] for row in rows()} <= {"completed", "failed"}, 90)
    assert client.execute(function)["responseStatusCode"] == 200


def test_client_that_resets_with_two_requests_unanswered_leaves_no_error_in_the_log(
    client: Client, wire: Wire, function: str, annals_instance: AnnalsInstance
) -> None:
    """The first request runs and the second waits for it; both must notice that their client has disconnected."""
    start = len(annals_instance.log.read_text())
    body = b'{"path":"/slow"}'
    sent = head(annals_instance, f"/functions/{function}/executions", "application/json", len(body)) + body + LAST
    slow = {"queries[]": json.dumps({"method": "equal", "attribute": "requestPath", "values": ["/slow"]})}

    def statuses() -> list[str]:
        found = client.call("GET", f"/functions/{function}/executions", params=slow)
        return [row["status"] for row in found["executions"]]

    before = len(statuses())
    wires = [wire.connect() for _ in range(3)]
    for one in wires:
        one.sendall(sent)
    eventually(lambda: len(statuses()) == before + len(wires))
    for one in wires:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
    eventually(lambda: set(statuses()) <= {"completed", "failed"}, 90)

    assert client.call("POST", f"/functions/{function}/executions", json={"path": "/slow"})["status"] == "completed"
    logged = annals_instance.log.read_text()[start:]
    assert "Traceback" not in logged
    assert " ERROR " not in logged


def test_client_that_disconnects_during_an_upload_leaves_nothing(
    client: Client, wire: Wire, function: str, annals_instance: AnnalsInstance
) -> None:
    before = client.call("GET", f"/functions/{function}/deployments")["total"]
    path = f"/functions/{function}/deployments"
    upload_start = head(annals_instance, path, "multipart/form-data; boundary=x", 5_000_000) + PART + b"x" * 400_000
    for _ in range(5):
        with wire.connect() as one:
            one.sendall(upload_start)

    def parts() -> list[Path]:
        return list((annals_instance.data / "blobs" / ".partial").iterdir())

    assert client.call("GET", f"/functions/{function}/deployments")["total"] == before
    eventually(lambda: not parts(), 90)
