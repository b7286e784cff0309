"""Parameters of the Open Runtimes API: loosely typed as clients send them; invalid ones are typed errors."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annals.executor.open_runtimes import parameters
from annals.executor.open_runtimes.errors import ApiError
from annals.executor.open_runtimes.parameters import Fields
from tests.client import form


def sent(body: bytes, content_type: str = "application/json") -> Fields:
    return Fields.of_body(content_type, body)


def of(**values: object) -> Fields:
    return sent(json.dumps(values).encode())


STARTED = (
    'cp /tmp/code.tar.gz /mnt/code/code.tar.gz && nohup helpers/start.sh "bash helpers/server.sh"',
    'cp /tmp/code.tar.gz /mnt/code/code.tar.gz && nohup helpers/start.sh "node src/server.js"',
    'cp /tmp/code.tar.gz /mnt/code/code.tar.gz && nohup helpers/start.sh "python3 src/server.py"',
    'cp /tmp/code.tar.gz /mnt/code/code.tar.gz && bash /usr/local/server/helpers/start.sh "bash helpers/server.sh"',
    "bash /usr/local/server/helpers/server.sh",
    "bash helpers/server.sh",
    "node src/server.mjs",
)
"""Start commands of control planes: their own wrappers around the server's command."""


def test_json_and_multipart_say_the_same() -> None:
    content_type, body = form(
        {
            "path": "a?b=c",
            "method": "post",
            "headers": '{"x-a":"1","x-list":["2","3"]}',
            "timeout": "30",
            "logging": "false",
            "body": b"\xff\x00",
            "cpus": "0.5",
            "variables": '{"A":"b"}',
        },
        None,
        "",
    )
    call, spec = parameters.execution(sent(body, content_type))
    same, _ = parameters.execution(
        of(path="/a?b=c", method="POST", headers={"x-a": 1, "x-list": [2, 3]}, timeout=30, logging=False)
    )

    assert (call.path, call.method, call.headers, call.timeout, call.logging) == (
        *("/a?b=c", "POST", [("x-a", "1"), ("x-list", "2"), ("x-list", "3")], 30, False),
    )
    assert (call.path, call.method, call.headers, call.timeout) == (same.path, same.method, same.headers, same.timeout)
    assert call.body == b"\xff\x00"
    assert (spec.limits.cpus, spec.limits.memory_mb, spec.variables) == (0.5, 512, {"A": "b"})


def test_missing_parameters_have_the_contracts_defaults() -> None:
    call, spec = parameters.execution(sent(b""))
    name, made = parameters.creation(of(runtimeId="a-1", image="openruntimes/node:v5-22"))

    assert (call.path, call.method, call.headers, call.timeout, call.logging) == ("/", "GET", [], 15, True)
    assert (spec.version, spec.policy, spec.limits.cpus, spec.limits.memory_mb) == ("v5", "no", 1, 512)
    assert (name, made.timeout, made.remove, made.variables) == ("a-1", 600, False, {})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "runtimeId"),
        ({"runtimeId": "a/b"}, "runtimeId"),
        ({"runtimeId": "-a"}, "runtimeId"),
        ({"runtimeId": "x" * 65}, "runtimeId"),
        ({"runtimeId": "a"}, "image"),
        ({"image": "x" * 129}, "image"),
        ({"entrypoint": "x" * 257}, "entrypoint"),
        ({"command": "x" * 1025}, "command"),
        ({"command": "a\0b"}, "command"),
        ({"command": ["ls"]}, "command"),
        ({"runtimeEntrypoint": "x" * 1025}, "runtimeEntrypoint"),
        ({"cacheKey": ".."}, "cacheKey"),
        ({"cacheKey": "a/b"}, "cacheKey"),
        ({"variables": {"A=B": "1"}}, "variables"),
        ({"variables": "[1]"}, "variables"),
        ({"variables": {"A": "x" * 100_001}}, "variables"),
        ({"memory": "much"}, "memory"),
        ({"memory": True}, "memory"),
        ({"memory": 1e30}, "memory"),
        ({"cpus": 0}, "cpus"),
        ({"cpus": "nan"}, "cpus"),
        ({"timeout": -1}, "timeout"),
        ({"remove": "perhaps"}, "remove"),
        ({"version": "v2"}, "version"),
        ({"restartPolicy": "sometimes"}, "restartPolicy"),
    ],
)
def test_invalid_parameter_is_refused_by_name(values: dict[str, object], words: str) -> None:
    usual: dict[str, object] = {"runtimeId": "a", "image": "node-22"} if values and values != {"runtimeId": "a"} else {}
    with pytest.raises(ApiError, match=words) as refused:
        parameters.creation(of(**{**usual, **values}))

    assert (refused.value.kind, refused.value.code) == ("general_argument_invalid", 400)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[]", "application/json"),
        (b"{", "application/json"),
        (b"\xff", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"--x\r\n", "multipart/form-data"),
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x"),
        (b'--x\r\nContent-Disposition: form-data; name="path"\r\n\r\n/a', "multipart/form-data; boundary=x"),
    ],
)
def test_body_that_cannot_be_read_is_refused(body: bytes, kind: str) -> None:
    with pytest.raises(ApiError, match="body"):
        sent(body, kind)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["path", "method", "headers", "timeout", "logging", "body", "cpus", "memory", "variables"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=5,
        ),
    )
)
def test_any_body_is_an_execution_or_an_error(values: dict[str, object]) -> None:
    try:
        call, spec = parameters.execution(of(**values))
    except ApiError:
        return
    assert call.path.startswith("/")
    assert 1 <= call.timeout <= parameters.LONGEST_SECONDS
    assert all(isinstance(text, str) for pair in call.headers for text in pair)
    assert all(name and "=" not in name for name in spec.variables)


@pytest.mark.parametrize(
    ("image", "runtime"),
    [
        ("openruntimes/node:v5-22", "node-22"),
        ("openruntimes/python:v4-3.12", "python-3.12"),
        ("registry.example:5000/annals/static:1", "static-1"),
        ("annals/python:3.13", "python-3.13"),
        ("node-22", "node-22"),
        ("acme/special:latest", "special-latest"),
        ("acme/deno:7", "deno-2"),
    ],
)
def test_image_stands_for_a_runtime(image: str, runtime: str) -> None:
    assert parameters.runtime_of(image, {"deno-2": "acme/deno:7"}) == runtime


def test_function_server_is_the_only_start_command() -> None:
    def serves(start: str) -> bool:
        _, spec = parameters.creation(of(runtimeId="a", image="node-22", runtimeEntrypoint=start))
        return parameters.serves(spec)

    for started in STARTED:
        assert serves(started), started
    assert not serves("")
    with pytest.raises(ApiError, match="start command"):
        serves("npm start")
