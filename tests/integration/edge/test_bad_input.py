"""No input is answered with a 500, and every error is in the envelope."""

import re
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as property_of
from hypothesis import strategies as st

from annals.app.edge.operation import Endpoint
from annals.app.parameters import Parameters
from annals.app.services import Services
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.routes import ENDPOINTS

NAMES = sorted(
    {name for o in ENDPOINTS if isinstance(table := o.declared["parameters"], Parameters) for name, _ in table.lines}
    | {"functionId", "name", "runtime", "execute", "events", "schedule", "timeout", "enabled", "scopes", "commands"}
    | {"specification", "buildSpecification", "providerRepositoryId", "providerBranches", "variableId", "queries"}
)
WORDS = st.sampled_from(
    [
        *("", "unique()", "a", "node-22", "true", "0", "*", "any", "functions.*", "users.*.create", "* * * * *", "\0"),
        *("é" * 40, "[]", "{}", "s-1vcpu-1gb", "POST", "\ud7ff", "-1", "1e3", "9999-12-31T23:59:59+14:00"),
        '{"method":"equal","attribute":"name","values":["\\u0000"]}',
        '{"method":"limit","values":[1]}',
        '{"method":"equal","attribute":"$createdAt","values":["0001-01-01"]}',
        '{"method":"between","attribute":"$sequence","values":["1","99999999999999999999"]}',
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
SENT = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8)
CONTENT_TYPES = st.sampled_from(
    ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)


@pytest.mark.parametrize(
    "operation", ENDPOINTS, ids=lambda operation: f"{operation.method} {operation.path.removeprefix('/v1')}"
)
async def test_no_input_is_a_server_error(
    services: Services, plain: Client, operation: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    # no follower runs here, so that the feed is never ready and its timeout must be short
    monkeypatch.setattr("annals.app.history.events.WAIT_SECONDS", 0.01)
    examples: list[Any] = []

    @settings(max_examples=25, suppress_health_check=list(HealthCheck), database=None)
    @property_of(sent=SENT, path=st.lists(WORDS | st.text(max_size=40), min_size=3, max_size=3), kind=CONTENT_TYPES)
    def collect(**example: Any) -> None:
        examples.append(example)

    collect()
    known = await given.running_function(services, plain)
    for number, example in enumerate(examples):
        values = iter([known if number % 2 else example["path"][0], *example["path"][1:]])
        path = re.sub(r"\{\w+\}", lambda _: next(values).replace("/", "") or "x", operation.path)  # noqa: B023
        reply = await _send(plain, operation.method, path, example["sent"], example["kind"])
        unready = operation.path == "/v1/health/ready" or (
            reply.status == 503 and reply.error[1] == "history_not_ready"
        )
        assert reply.status < 500 or unready, (path, example, reply.body)
        if reply.status >= 400 and operation.path != "/v1/health/ready":
            assert reply.error[0] == reply.status


async def _send(client: Client, method: str, path: str, sent: dict[str, Any], kind: str) -> Any:
    pairs = [(name, value if isinstance(value, str) else msgspec.json.encode(value)) for name, value in sent.items()]
    if method == "GET":
        return await client.send(method, path, query=urlencode(pairs, errors="replace"))
    if kind == "application/json":
        return await client.send(method, path, content_type=kind, body=msgspec.json.encode(sent))
    return await client.send(method, path, content_type=kind, body=urlencode(pairs, errors="replace").encode())
