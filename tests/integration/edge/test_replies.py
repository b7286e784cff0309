"""Executions as forms: bytes in and out (http-api.md 7.19)."""

import msgspec
import pytest

from annals.app.services import Services
from annals.domain.ports import Outcome
from tests.client import form
from tests.integration.edge import given
from tests.integration.edge.client import Client
from tests.integration.edge.executor import FakeExecutor


@pytest.mark.parametrize("accept", ["multipart/form-data", "multipart/*", "text/html, multipart/form-data"])
async def test_answer_as_a_form_keeps_its_bytes(
    services: Services, executor: FakeExecutor, plain: Client, accept: str
) -> None:
    function_id = await given.running_function(services, plain)
    executor.answer = lambda _run: Outcome(status_code=200, body=b"\xff\x00binary")

    reply = await given.execute(plain.with_(accept=accept), function_id)

    assert reply.status == 201
    boundary = reply.headers["content-type"].partition("boundary=")[2]
    assert boundary.startswith("-" * 29)
    parts = dict(_parts(reply.body, boundary.encode()))
    assert parts["responseBody"][1] == b"\xff\x00binary"
    assert parts["status"][1] == b"completed"
    assert parts["responseStatusCode"][1] == b"200"
    assert parts["scheduledAt"][1] == b""
    assert b"application/json" in parts["responseHeaders"][0]
    assert msgspec.json.decode(parts["responseHeaders"][1])[0]["name"] == "x-appwrite-execution-id"


async def test_bytes_that_json_cannot_hold_are_refused_but_stored(
    services: Services, executor: FakeExecutor, plain: Client
) -> None:
    function_id = await given.running_function(services, plain)
    executor.answer = lambda _run: Outcome(status_code=200, body=b"\xff")

    for accept in ("application/json", "application/json, multipart/form-data", "*/*", ""):
        reply = await given.execute(plain.with_(accept=accept), function_id)
        assert reply.error == (400, "general_unknown")
        assert reply.message.startswith("Failed to parse response")
    assert (await plain.get(f"/v1/functions/{function_id}/executions")).json["total"] == 4


async def test_call_as_a_form_carries_bytes(services: Services, executor: FakeExecutor, plain: Client) -> None:
    function_id = await given.running_function(services, plain)
    fields: dict[str, str | bytes] = {"body": b"\xff\x00", "headers": '{"x-a": "b"}', "async": "false", "method": "PUT"}
    content_type, body = form(fields, None, "")

    reply = await plain.send(
        "POST", f"/v1/functions/{function_id}/executions", content_type=content_type, body=body
    )  # fmt: skip

    assert reply.status == 201
    assert (executor.runs[0].body, executor.runs[0].method) == (b"\xff\x00", "PUT")
    assert ("x-a", "b") in executor.runs[0].headers


def _parts(body: bytes, boundary: bytes) -> list[tuple[str, tuple[bytes, bytes]]]:
    found = []
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").removesuffix(b"\r\n").partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0].decode()
        found.append((name, (head, content)))
    return found
