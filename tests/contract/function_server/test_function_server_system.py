"""Authentication and system routes (checks 1-4), and checks before a function sees the request."""

import http.client

import pytest

from tests.contract.function_server.conftest import Starter
from tests.contract.function_server.instance import DEADLINE_SECONDS, Instance


@pytest.mark.runtime(1)
def test_wrong_secret_is_refused_before_user_code(instance_a: Instance) -> None:
    before = instance_a.call("count").body
    answer = instance_a.call("count", secret="wrong")

    assert answer.status in {500, 401}
    assert b"Unauthorized" in answer.body
    assert int(instance_a.call("count").body) == int(before) + 1


@pytest.mark.runtime(2)
def test_no_secret_is_refused(instance_a: Instance) -> None:
    answer = instance_a.call("text", headers={"x-open-runtimes-secret": ""})

    assert answer.status in {500, 401}
    assert b"Unauthorized" in answer.body


def test_refused_request_with_a_body_leaves_the_connection_usable(instance_a: Instance) -> None:
    with instance_a.raw() as connection:
        head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"
        health = b"GET /__opr/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        connection.sendall(head + health)
        data = b"".join(iter(lambda: connection.recv(65536), b""))

    assert data.count(b"HTTP/1.1 ") == 2
    assert data.endswith(b"OK")


@pytest.mark.runtime(3)
def test_health_needs_no_secret(instance_a: Instance) -> None:
    answer = instance_a.call("text", path="/__opr/health", secret="")

    assert (answer.status, answer.body) == (200, b"OK")


@pytest.mark.runtime(4)
def test_timings_are_the_telemetry_file(instance_a: Instance) -> None:
    (instance_a.telemetry / "timings.txt").write_text("local_download=0.25\nextract=0.5\n")

    answer = instance_a.call("text", path="/__opr/timings", secret="")

    assert answer.status == 200
    assert answer.one("content-type") == "text/plain; charset=utf-8"
    timings = {key: float(value) for key, _, value in (line.partition("=") for line in answer.body.decode().split())}
    assert timings == {"local_download": 0.25, "extract": 0.5}


@pytest.mark.runtime(39)
def test_start_is_announced(instance_b: Instance) -> None:
    assert "HTTP server successfully started!" in instance_b.said()


@pytest.mark.runtime(36)
@pytest.mark.parametrize("value", ["abcd", "0", "-3", "1.5", "1e3", "٣"])
def test_timeout_that_is_no_positive_integer_is_refused(instance_a: Instance, value: str) -> None:
    headers = [("x-open-runtimes-timeout", value), ("x-open-runtimes-secret", "checked later")]

    answer = instance_a.call("text", headers=headers)

    assert answer.status == 500
    assert answer.body == b'Header "x-open-runtimes-timeout" must be an integer greater than 0.'


def test_huge_timeout_is_no_timeout_at_once(instance_b: Instance) -> None:
    answer = instance_b.call("nap", path="/?name=a", headers={"x-open-runtimes-timeout": "99999999999999"})

    assert (answer.status, answer.body) == (200, b"a")


def test_server_listens_on_tcp(fresh: Starter, unused_tcp_port: int) -> None:
    instance = fresh(environment={"ANNALS_LISTEN": f"tcp:127.0.0.1:{unused_tcp_port}"})
    connection = http.client.HTTPConnection("127.0.0.1", unused_tcp_port, timeout=DEADLINE_SECONDS)
    connection.request("GET", "/", headers={"x-action": "text"})

    assert connection.getresponse().read() == "Hello 👋".encode()
    connection.close()
    assert instance.process.poll() is None
