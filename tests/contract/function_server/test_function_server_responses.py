"""Checks 5-14: responses of functions on the wire."""

import json

import pytest

from tests.contract.function_server.instance import Instance


@pytest.mark.runtime(5)
def test_text_arrives_as_utf8(instance_a: Instance) -> None:
    answer = instance_a.call("text")

    assert answer.status == 200
    assert answer.body == "Hello 👋".encode()
    assert answer.one("content-type") == "text/plain; charset=utf-8"
    assert answer.one("content-length") == str(len(answer.body))


@pytest.mark.runtime(6)
def test_json_is_compact(instance_a: Instance) -> None:
    answer = instance_a.call("json")

    assert answer.one("content-type") == "application/json; charset=utf-8"
    assert answer.body == b'{"a":{"b":[1,2],"c":"d e"},"f":1.5}'


@pytest.mark.runtime(7)
def test_redirect(instance_a: Instance) -> None:
    answer = instance_a.call("redirect")

    assert (answer.status, answer.body) == (301, b"")
    assert answer.one("location") == "https://example.com/x?y=1"


@pytest.mark.runtime(8)
def test_empty_response_is_204(instance_a: Instance) -> None:
    answer = instance_a.call("empty")

    assert (answer.status, answer.body) == (204, b"")


@pytest.mark.runtime(9)
def test_no_return_is_an_error_with_a_reason(instance_a: Instance) -> None:
    answer = instance_a.call("nothing")

    assert (answer.status, answer.body) == (500, b"")
    assert "Return statement missing." in instance_a.errors_of(answer)


@pytest.mark.runtime(10)
def test_only_the_returned_helper_counts(instance_a: Instance) -> None:
    assert instance_a.call("two").body == b"second"


@pytest.mark.runtime(11)
def test_response_headers_are_lowered_and_control_headers_dropped(instance_a: Instance) -> None:
    answer = instance_a.call("headers")

    assert answer.all("x-open-runtimes-secret-thing") == []
    assert answer.one("x-custom") == "kept"
    assert answer.one("x-number") == "5"
    assert answer.one("content-type") == "text/html; charset=utf-8"


def test_multipart_boundary_and_a_given_charset_stay_as_they_are(instance_a: Instance) -> None:
    assert instance_a.call("multipart").one("content-type") == "multipart/form-data; boundary=AbC"
    assert instance_a.call("charset").one("content-type") == "text/Plain; charset=ISO-8859-1"


@pytest.mark.runtime(12)
def test_bytes_of_every_type_arrive_unchanged(instance_a: Instance) -> None:
    kinds = json.loads(instance_a.call("binary", path="/?kinds=").body)

    assert len(kinds) >= 5
    for kind in kinds:
        assert instance_a.call("binary", path="/?kind=" + kind).body == bytes([0, 10, 255]), kind


@pytest.mark.runtime(13)
def test_send_echoes_the_raw_text(instance_a: Instance) -> None:
    body = "raw ✓ text".encode()

    assert instance_a.call("send", method="POST", body=body).body == body


@pytest.mark.runtime(14)
def test_header_list_becomes_several_lines(instance_a: Instance) -> None:
    assert instance_a.call("cookies").all("set-cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize("status", [200, 404, 418, 599, 700, 999])
def test_any_final_status_passes(instance_a: Instance, status: int) -> None:
    assert instance_a.call("status", path=f"/?code={status}").status == status


@pytest.mark.parametrize("status", [100, 101, 103, 199])
def test_interim_status_is_announced_in_a_header_of_a_final_response(instance_a: Instance, status: int) -> None:
    answer = instance_a.call("status", path=f"/?code={status}")

    assert (answer.status, answer.one("x-open-runtimes-status"), answer.body) == (200, str(status), b"")
    assert instance_a.call("text").all("x-open-runtimes-status") == []


@pytest.mark.parametrize("status", [0, 99, 1000])
def test_status_that_no_client_could_read_is_an_error(instance_a: Instance, status: int) -> None:
    answer = instance_a.call("status", path=f"/?code={status}")

    assert (answer.status, answer.body) == (500, b"")
    assert str(status) in instance_a.errors_of(answer)


def test_plain_map_is_completed(instance_a: Instance) -> None:
    answer = instance_a.call("plain_map")

    assert (answer.status, answer.body) == (200, b"bare")
    assert answer.one("content-type") == "text/plain; charset=utf-8"


def test_bare_string_is_an_error_that_says_so(instance_a: Instance) -> None:
    answer = instance_a.call("bare_string")

    assert (answer.status, answer.body) == (500, b"")
    assert "Invalid response" in instance_a.errors_of(answer)


def test_line_break_in_a_header_is_refused(instance_a: Instance) -> None:
    answer = instance_a.call("injected")

    assert answer.status == 500
    assert answer.all("set-cookie") == []
    assert "x-bad" in instance_a.errors_of(answer)


def test_head_gets_the_headers_without_a_body(instance_a: Instance) -> None:
    answer = instance_a.call("text", method="HEAD")

    assert answer.body == b""
    assert answer.one("content-length") == str(len("Hello 👋".encode()))
