"""Instances that start without a deployment and get one later."""

import json
import time
from pathlib import Path

import pytest

from tests.contract.function_server.conftest import Starter
from tests.contract.function_server.instance import ENTRYPOINTS, FUNCTIONS, Answer, Instance, LogReader

SPECIALISE = "/__annals/specialise"
GENERIC = {"ANNALS_SPECIALISE": "1", "OPEN_RUNTIMES_ENTRYPOINT": ""}


def specialise(instance: Instance, code: Path | None = None, **environment: str) -> Answer:
    wish = {
        "code": str(code or FUNCTIONS / instance.language),
        "env": {"OPEN_RUNTIMES_ENTRYPOINT": ENTRYPOINTS[instance.language], **environment},
    }
    return instance.call("", path=SPECIALISE, method="POST", body=json.dumps(wish).encode())


@pytest.fixture
def generic(fresh: Starter) -> Instance:
    return fresh(environment=GENERIC)


def test_generic_instance_is_healthy_and_serves_nothing(generic: Instance) -> None:
    assert generic.call("text", path="/__opr/health").body == b"OK"
    assert generic.call("text").status == 503


def test_generic_instance_becomes_the_server_of_a_deployment(generic: Instance) -> None:
    headers = '{"x-enforced":"yes"}'

    answer = specialise(generic, CUSTOM="variable", OPEN_RUNTIMES_SECRET="known", OPEN_RUNTIMES_HEADERS=headers)
    seen = json.loads(generic.call("environment", secret="known").body)
    described = json.loads(generic.call("describe", secret="known").body)

    assert answer.status == 200
    assert seen["custom"] == "variable"
    assert seen["own"] == []
    assert described["headers"]["x-enforced"] == "yes"
    assert generic.call("text", secret="wrong").status == 500


def test_instance_is_specialised_only_once(generic: Instance, code: Path) -> None:
    assert specialise(generic).status == 200
    assert specialise(generic, code=code, CUSTOM="later").status == 409
    assert json.loads(generic.call("environment").body)["custom"] is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"code":"/x"}', b'{"env":{}}', b'{"env":null,"code":"/x"}'])
def test_invalid_specialise_request_changes_nothing(generic: Instance, body: bytes) -> None:
    assert generic.call("", path=SPECIALISE, method="POST", body=body).status == 400
    assert specialise(generic).status == 200
    assert generic.call("text").status == 200


def test_ordinary_instance_has_no_such_route(instance_a: Instance) -> None:
    """The path is the function's own there, behind the secret as any other."""
    answer = instance_a.call("describe", path=SPECIALISE, method="POST", body=b"{}")

    assert json.loads(answer.body)["path"] == SPECIALISE
    assert instance_a.call("describe", path=SPECIALISE, method="POST", body=b"{}", secret="wrong").status == 500


def test_build_settings_are_read_beside_the_new_code(generic: Instance, code: Path, language: str) -> None:
    name = {"python": "plain.py", "node": "plain.js"}[language]
    (code / ".open-runtimes").write_text(f"OPEN_RUNTIMES_ENTRYPOINT={name}\nOPEN_RUNTIMES_CLEANUP=none\n")

    specialise(generic, code=code)

    assert generic.call("text").body == b"plain"


def test_first_call_of_a_generic_instance_does_not_wait_for_a_start(fresh: Starter, reader: LogReader) -> None:
    """A start takes tens of times as long; the best of five counts of both, since the machine is shared."""
    starts, calls = [], []
    for _ in range(5):
        began = time.perf_counter()
        instance = fresh(environment=GENERIC, logs="unix:" + reader.path)
        started = time.perf_counter()
        assert specialise(instance).status == 200
        assert instance.call("text").status == 200
        starts.append(started - began)
        calls.append(time.perf_counter() - started)
        instance.stop(keep=True)

    assert min(calls) < min(starts)
