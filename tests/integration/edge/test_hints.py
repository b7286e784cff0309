"""Hints beside answers that the contract fixes: `X-Annals-Hint`, in each API version."""

from typing import Any

import pytest
import structlog

from annals.app.available_runtimes import Available
from annals.app.services import Services
from annals.executor.wire.protocol import Status
from annals.telemetry.logging import add_request
from annals.telemetry.request_log import RequestLog
from tests.integration.edge.client import Client

HINT = "x-annals-hint"
SERVED = ["node-20", "node-22", "python-3.13", "static-1"]


@pytest.fixture
def executors(services: Services) -> dict[str, Any]:
    """The status of each executor by address. A test may change it."""
    found: dict[str, Any] = {
        "one": Status(driver="sandbox", host="h", runtimes=SERVED, limits={}, work={}),
        "away": "It cannot be reached.",
    }

    async def status() -> dict[str, Any]:
        return found

    services.available = Available(status)
    return found


@pytest.mark.parametrize(
    ("body", "problem"),
    [(b"{x", "byte 1"), (b'{"a": 1,}', "byte 8"), (b'{"name": "n"', "it breaks off or is too deep, 12 bytes")],
)
async def test_invalid_json_body_keeps_its_error_and_gets_a_hint(keys: list[Client], body: bytes, problem: str) -> None:
    for key in keys:
        reply = await key.send("POST", "/v1/functions", content_type="application/json; charset=utf-8", body=body)

        assert reply.error == (400, "general_argument_invalid")
        assert reply.message == 'Param "functionId" is not optional.'
        assert reply.headers[HINT] == (
            f"The body's type is application/json, but it is no JSON ({problem}). No parameter was read from it."
        )


async def test_json_without_an_object_gets_a_hint_and_an_empty_body_none(plain: Client) -> None:
    text = await plain.send("POST", "/v1/functions", content_type="application/json", body=b'"functionId"')
    empty = await plain.send("POST", "/v1/functions", content_type="application/json", body=b"")
    form = await plain.send("POST", "/v1/functions", content_type="application/x-www-form-urlencoded", body=b"{")

    assert text.headers[HINT] == "The body is JSON, but no object. No parameter was read from it."
    assert HINT not in empty.headers
    assert HINT not in form.headers


async def test_unknown_key_and_unknown_project_have_different_hints(keys: list[Client]) -> None:
    for key in keys:
        wrong = await key.with_(x_appwrite_key="standard_wrong").get("/v1/functions")
        assert wrong.error == (401, "user_unauthorized")
        assert wrong.headers[HINT].startswith("The API key does not belong to this project.")
        nowhere = await key.with_(x_appwrite_project="nowhere").get("/v1/functions")
        assert nowhere.error == (404, "project_not_found")
        assert nowhere.headers[HINT].startswith("No project has the id in X-Appwrite-Project.")
        void = await key.with_(x_appwrite_key="dynamic_e30.e30.x").get("/v1/functions")
        assert void.error == (401, "general_unauthorized_scope")
        assert void.headers[HINT].startswith("The API key has expired, is malformed or belongs to another project")
        assert HINT not in (await key.get("/v1/functions")).headers


async def test_pages_may_read_hints(plain: Client) -> None:
    reply = await plain.with_(origin="https://a.test").send(
        "POST", "/v1/functions", content_type="application/json", body=b"{"
    )

    assert HINT in reply.headers
    assert "X-Annals-Hint" in reply.headers["access-control-expose-headers"].split(", ")


async def test_request_s_log_line_carries_its_hint(plain: Client) -> None:
    with structlog.testing.capture_logs(processors=[add_request]) as lines:
        await plain.send("POST", "/v1/functions", content_type="application/json", body=b"{")
        RequestLog().ended("POST", "/v1/functions", 400, 0.1)

    [line] = [line for line in lines if line["event"] == "request"]
    assert "it is no JSON" in line["hint"]


@pytest.mark.parametrize(
    ("events", "hinted"),
    [
        (["databases.*"], "databases.*"),
        (["buckets.*.files.*.create", "users.*.create"], "buckets.*.files.*.create"),
        (["users.*.recovery.*.create"], "users.*.recovery.*.create"),
        (["users.*.update.prefs"], "users.*.update.prefs"),
        (['databases.a☃ b"\r\n.create'], "databases.a??b???.create"),
        (["users.*"], ""),
        (["users.u1.sessions.*.create", "users.*.update.email", "teams.t.memberships.m.update.status"], ""),
        ([], ""),
    ],
)
async def test_events_that_nothing_emits_are_accepted_with_a_hint(
    keys: list[Client], executors: dict[str, Any], events: list[str], hinted: str
) -> None:
    for key in keys:
        fields = {"name": "n", "runtime": "node-22", "events": events}
        made = await key.post("/v1/functions", functionId="unique()", **fields)
        changed = await key.put(f"/v1/functions/{made.json['$id']}", **fields)

        assert (made.status, changed.status, made.json["events"]) == (201, 200, events)
        for reply in (made, changed):
            answer = f"Nothing on this instance emits {hinted}: only events of users and teams trigger functions."
            assert reply.headers.get(HINT) == (answer if hinted else None)


async def test_many_events_that_nothing_emits_make_a_bounded_hint(plain: Client, executors: dict[str, Any]) -> None:
    events = [f"databases.{number:0100d}.create" for number in range(100)]
    reply = await plain.post("/v1/functions", functionId="f", name="n", runtime="php-8.3", events=events)

    assert reply.status == 201
    assert len(reply.headers[HINT]) <= 500
    assert "and 97 more" in reply.headers[HINT]


async def test_unbuildable_runtime_is_accepted_with_a_hint(keys: list[Client], executors: dict[str, Any]) -> None:
    for key in keys:
        made = await key.post("/v1/functions", functionId="unique()", name="n", runtime="php-8.3")
        changed = await key.put(f"/v1/functions/{made.json['$id']}", name="n", runtime="php-8.4")
        served = await key.put(f"/v1/functions/{made.json['$id']}", name="n", runtime="node-20.0")

        assert (made.status, changed.status, served.status) == (201, 200, 200)
        assert made.headers[HINT] == (
            "The runtime php-8.3 is accepted, but its builds fail on this instance: the sandbox driver serves"
            " node-20.0, node-22, python-3.13, static-1."
        )
        assert "php-8.4" in changed.headers[HINT]
        assert HINT not in served.headers


async def test_available_lists_only_runtimes_that_work_here(
    keys: list[Client], anonymous: Client, executors: dict[str, Any]
) -> None:
    for client in [*keys, anonymous]:
        found = (await client.get("/v1/functions/runtimes", available="true")).json
        assert found["total"] == len(found["runtimes"]) == 4
        assert {one["$id"] for one in found["runtimes"]} == {"node-20.0", "node-22", "python-3.13", "static-1"}
        assert (await client.get("/v1/functions/runtimes")).json["total"] == 98
        assert (await client.get("/v1/functions/runtimes", available="false")).json["total"] == 98
        assert (await client.get("/v1/functions/runtimes", available="x")).error == (400, "general_argument_invalid")


async def test_runtimes_get_no_hint_without_an_executor(plain: Client, executors: dict[str, Any]) -> None:
    executors.pop("one")

    reply = await plain.get("/v1/functions/runtimes", available="1")
    assert reply.error == (503, "general_service_unavailable")
    made = await plain.post("/v1/functions", functionId="f", name="n", runtime="php-8.3")
    assert (made.status, HINT in made.headers) == (201, False)


async def test_executors_are_asked_once_for_many_functions(services: Services, plain: Client) -> None:
    asked = 0

    async def status() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"one": Status(driver="docker", host="h", runtimes=SERVED, limits={}, work={})}

    services.available = Available(status)
    for _ in range(5):
        made = await plain.post("/v1/functions", functionId="unique()", name="n", runtime="go-1.26")
        assert "the docker driver serves" in made.headers[HINT]

    assert asked == 1
