"""The fuzzer's verdict on recorded answers that keep the contract or break it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fuzz.answers import Answer, fault_of, read_answers
from tests.fuzz.framing import Script
from tests.fuzz.raw import minimised, play

ENVELOPE = b'{"message":"No.","code":400,"type":"general_bad_request","version":"1.9.6"}'
JSON_TYPE = {"content-type": "application/json; charset=UTF-8"}
REQUEST = Script((b"GET /v1/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",), well_framed=True)


def recorded(status: int, body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(line + b"\r\n" for line in (b"content-length: %d" % len(body), *headers))
    return b"HTTP/1.1 %d X\r\n%b\r\n%b" % (status, lines, body)


@contextmanager
def server(answer: bytes, *, silent: bool = False) -> Iterator[str]:
    """Serve the recorded answer to every connection, and yield the endpoint."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while not ended.is_set():
                wire, _ = listening.accept()
                with wire:
                    wire.recv(65536)
                    if silent:
                        ended.wait()
                    wire.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        host, port = listening.getsockname()
        try:
            yield f"http://{host}:{port}/v1"
        finally:
            ended.set()
            socket.create_connection((host, port)).close()
            thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, JSON_TYPE, b'{"total": 1}'),
        Answer(204, {"content-type": "text/html"}, b""),
        Answer(400, JSON_TYPE, ENVELOPE),
        Answer(404, JSON_TYPE, b""),
        Answer(503, {**JSON_TYPE, "retry-after": "1"}, ENVELOPE.replace(b"400", b"503")),
        Answer(200, {"content-type": "text/event-stream"}, b"data: {}\n\n", whole=False),
    ],
)
def test_answer_that_keeps_the_contract_is_no_finding(answer: Answer) -> None:
    assert fault_of(answer) is None


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Answer(500, JSON_TYPE, ENVELOPE.replace(b"400", b"500")), "status 500"),
        (Answer(503, JSON_TYPE, ENVELOPE.replace(b"400", b"503")), "status 503"),
        (Answer(502, {**JSON_TYPE, "retry-after": "1"}, b""), "status 502"),
        (Answer(400, JSON_TYPE, b'{"status_code":400,"detail":"Invalid host header"}'), "outside of the envelope"),
        (Answer(404, JSON_TYPE, ENVELOPE), "outside of the envelope"),
        (Answer(400, {"content-type": "text/plain"}, ENVELOPE), "outside of the envelope"),
        (Answer(400, JSON_TYPE, b"[" * 100_000), "outside of the envelope"),
        (Answer(200, JSON_TYPE, b'{"total": NaN'), "no JSON"),
        (Answer(200, JSON_TYPE, b'{"total"', whole=False), "ends early"),
    ],
)
def test_answer_that_breaks_the_contract_is_a_finding(answer: Answer, fault: str) -> None:
    assert fault in (fault_of(answer) or "")


def test_answers_of_one_connection_are_separated() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"
    received = b"HTTP/1.1 100 Continue\r\n\r\n" + recorded(400, ENVELOPE) + chunked + head + recorded(204, b"")

    answers = read_answers(received)

    assert [(answer.status, answer.body) for answer in answers] == [
        (400, ENVELOPE),
        (200, b"{}"),
        (200, b""),
        (204, b""),
    ]
    assert [answer.whole for answer in read_answers(chunked[:-5] + b"")] == [False]
    assert [answer.whole for answer in read_answers(recorded(200, b"abc")[:-1])] == [False]


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (recorded(500, b"Internal Server Error"), "status 500"),
        (recorded(200, b"{", b"content-type: application/json"), "no JSON"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP answer"),
        (b"", "closed without an answer"),
    ],
)
def test_recorded_fault_is_found_on_the_wire(answer: bytes, fault: str) -> None:
    with server(answer) as endpoint:
        assert fault in (play(endpoint, REQUEST).fault or "")


def test_request_that_is_never_answered_is_a_hang() -> None:
    with server(b"", silent=True) as endpoint:
        assert play(endpoint, REQUEST, hang_seconds=0.2).fault == "no answer in 0.2 s"


def test_client_that_leaves_reports_no_fault() -> None:
    with server(recorded(500, b"")) as endpoint:
        assert play(endpoint, REQUEST._replace(leaves=True, well_framed=False)).fault is None


def test_functions_own_answers_are_not_judged() -> None:
    to_function = Script((REQUEST.sent.replace(b"Host: a", b"Host: a.Functions.localhost"),), well_framed=True)
    with server(recorded(500, b"a function's own")) as endpoint:
        assert play(endpoint, to_function).fault is None
    with server(recorded(500, b"", b"server: Appwrite")) as endpoint:
        assert "status 500" in (play(endpoint, to_function).fault or "")


def test_finding_is_reduced_to_the_bytes_that_matter() -> None:
    sent = b"POST /v1/users HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(30)) + b"\r\nBAD" + b"x" * 5000

    smallest = minimised(Script((sent[:50], sent[50:]), 0.1), lambda candidate: b"BAD" in candidate.sent)

    assert b"BAD" in smallest.sent
    assert len(smallest.pieces) == 1
    assert smallest.pause == 0
    assert len(smallest.sent) < 300
