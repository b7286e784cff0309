"""Checks 15-28: the request as a function sees it."""

import hashlib
import json
from typing import Any

import pytest

from tests.contract.function_server.instance import Answer, Instance

MEBIBYTE = 1024 * 1024


def described(instance: Instance, **options: Any) -> dict[str, Any]:
    answer = instance.call("describe", **options)
    assert answer.status == 200
    return dict(json.loads(answer.body))


@pytest.mark.runtime(15)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_method_is_visible(instance_a: Instance, method: str) -> None:
    assert described(instance_a, method=method)["method"] == method


@pytest.mark.runtime(16)
def test_plain_url(instance_b: Instance) -> None:
    seen = described(instance_b)

    assert seen["url"] == "http://localhost:3000/"
    assert (seen["scheme"], seen["host"], seen["port"], seen["path"]) == ("http", "localhost", 3000, "/")
    assert (seen["query"], seen["queryString"]) == ({}, "")


@pytest.mark.runtime(17)
def test_url_behind_a_proxy(instance_a: Instance) -> None:
    headers = {"host": "www.mydomain.com:3001", "x-forwarded-proto": "https"}

    seen = described(instance_a, path="/a/b?c=d&e=f#x", headers=headers)

    assert seen["url"] == "https://www.mydomain.com:3001/a/b?c=d&e=f"
    assert (seen["scheme"], seen["host"], seen["port"]) == ("https", "www.mydomain.com", 3001)
    assert (seen["path"], seen["queryString"], seen["query"]) == ("/a/b", "c=d&e=f", {"c": "d", "e": "f"})


@pytest.mark.runtime(18)
@pytest.mark.parametrize(
    ("scheme", "host", "url"),
    [
        ("http", "a.com:80", "http://a.com/"),
        ("https", "a.com:443", "https://a.com/"),
        ("https", "a.com:80", "https://a.com:80/"),
        ("http", "a.com", "http://a.com/"),
        ("http", "[::1]:3000", "http://[::1]:3000/"),
    ],
)
def test_default_port_is_left_out_of_the_url(instance_a: Instance, scheme: str, host: str, url: str) -> None:
    assert described(instance_a, headers={"host": host, "x-forwarded-proto": scheme})["url"] == url


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a=1&a=2", {"a": "2"}),
        ("a=b=c", {"a": "b=c"}),
        ("a", {"a": ""}),
        ("=x&b=", {"b": ""}),
        ("a%20b=c+d%26", {"a%20b": "c+d%26"}),
        ("__proto__=x", {"__proto__": "x"}),
        ("", {}),
    ],
)
def test_queries_are_split_but_not_decoded(instance_a: Instance, query: str, expected: dict[str, str]) -> None:
    seen = described(instance_a, path="/p%20q?" + query)

    assert (seen["query"], seen["queryString"], seen["path"]) == (expected, query, "/p%20q")


@pytest.mark.runtime(19)
def test_header_names_are_lower_case_only(instance_a: Instance) -> None:
    headers = described(instance_a, headers={"X-Mixed-CASE": "Value"})["headers"]

    assert headers["x-mixed-case"] == "Value"
    assert "X-Mixed-CASE" not in headers


@pytest.mark.runtime(20)
def test_control_headers_are_hidden(instance_b: Instance) -> None:
    headers = described(instance_b, headers={"x-open-runtimes-anything": "1", "X-Open-Runtimes-Logging": ""})["headers"]

    assert [name for name in headers if name.startswith("x-open-runtimes-")] == []


def test_repeated_header_is_joined(instance_a: Instance) -> None:
    pairs = [("x-multi", "a"), ("X-Multi", "b"), ("content-language", "de"), ("content-language", "en")]

    headers = described(instance_a, headers=pairs)["headers"]

    assert headers["x-multi"] == "a, b"
    assert headers["content-language"] == "de, en"


def test_header_named_like_a_prototype_is_a_header(instance_a: Instance) -> None:
    assert described(instance_a, headers={"__proto__": "x"})["headers"]["__proto__"] == "x"


@pytest.mark.runtime(21)
def test_text_bodies(instance_a: Instance) -> None:
    body = "Tëxt 👋".encode()

    assert instance_a.call("body_text", method="POST", body=body).body == body
    assert instance_a.call("body", method="POST", body=body).body == body
    assert instance_a.call("body_text", method="POST").body == b""
    assert instance_a.call("body", method="POST").body == b""


@pytest.mark.runtime(22)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "APPLICATION/JSON; charset=utf-8"])
def test_json_bodies(instance_a: Instance, kind: str) -> None:
    answer = instance_a.call("body_json", method="POST", body=b'{"key":"v\xc3\xa4l"}', headers={"content-type": kind})

    assert json.loads(answer.body) == {"key": "väl"}


def test_body_is_parsed_only_when_it_is_declared_as_json(instance_a: Instance) -> None:
    def body(kind: str, body: bytes) -> Answer:
        return instance_a.call("body", method="POST", body=body, headers={"content-type": kind})

    assert body("application/json", b'{"a":1}').body == b'{"parsed":{"a":1}}'
    assert body("Application/JSON; x=y", b"[]").body == b'{"parsed":[]}'
    assert body("application/json", b"").body == b'{"parsed":{}}'
    assert body("text/json", b'{"a":1}').body == b'{"a":1}'
    assert body("text/plain; charset=no-such-charset", b"x").body == b"x"


@pytest.mark.runtime(23)
@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain"])
def test_binary_bodies(instance_a: Instance, kind: str) -> None:
    body = bytes([0, 10, 13, 128, 200, 254, 255, 1])

    assert instance_a.call("body_binary", method="POST", body=body, headers={"content-type": kind}).body == body


@pytest.mark.runtime(24)
def test_bad_json_fails_only_functions_that_read_it(instance_a: Instance) -> None:
    headers = {"content-type": "application/json"}
    answer = instance_a.call("body", method="POST", body=b"{not json", headers=headers)

    assert (answer.status, answer.body) == (500, b"")
    assert "JSON" in instance_a.errors_of(answer)
    assert instance_a.call("body_json", method="POST", body=b"", headers=headers).status == 500
    assert instance_a.call("body_text", method="POST", body=b"{not json", headers=headers).body == b"{not json"


@pytest.mark.runtime(25)
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_body_of_17_megabytes(instance_a: Instance, method: str) -> None:
    body = bytes(range(256)) * (17 * 4096)

    answer = instance_a.call("digest", method=method, body=body)

    assert json.loads(answer.body) == {"md5": hashlib.md5(body, usedforsecurity=False).hexdigest(), "method": method}


def test_body_limit_is_20_mebibytes_inclusive(instance_a: Instance) -> None:
    assert instance_a.call("digest", method="POST", body=b"x" * (20 * MEBIBYTE)).status == 200

    before = int(instance_a.call("count").body)
    assert instance_a.call("count", method="POST", body=b"x" * (20 * MEBIBYTE + 1)).status == 413
    assert int(instance_a.call("count").body) == before + 1


@pytest.mark.runtime(26)
def test_get_without_a_body(instance_a: Instance) -> None:
    assert instance_a.call("body_text", method="GET").body == b""


@pytest.mark.runtime(27)
def test_environment_variables(instance_a: Instance) -> None:
    seen = json.loads(instance_a.call("environment").body)

    assert (seen["custom"], seen["missing"]) == ("variable", None)
    assert seen["own"] == []


@pytest.mark.runtime(45)
def test_limits_are_in_the_environment(instance_a: Instance) -> None:
    seen = json.loads(instance_a.call("environment").body)

    assert (seen["cpus"], seen["memory"]) == ("2.5", "1024")


@pytest.mark.runtime(28)
def test_enforced_headers_win(instance_a: Instance) -> None:
    headers = described(instance_a, headers={"X-Custom": "the caller's"})["headers"]

    assert headers["x-custom"] == "value"
    assert headers["x-custom-uppercase"] == "Value2"
    assert headers["x-open-runtimes-custom"] == "248"


def test_request_changes_no_default_of_the_next(instance_a: Instance) -> None:
    first = described(instance_a, headers={"x-once": "1"})["headers"]
    second = described(instance_a)["headers"]

    assert "x-once" in first
    assert "x-once" not in second


def test_sibling_module_is_found(instance_a: Instance) -> None:
    assert instance_a.call("sibling").body == b"from a sibling"
