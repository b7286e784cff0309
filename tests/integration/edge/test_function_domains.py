"""Requests to a function's own host name (http-api.md 12), with the test in the part of the code."""

import asyncio
from typing import Any

import msgspec
import pytest

from annals.app.edge.edge import Edge
from annals.app.services import Services
from annals.domain.ports import Outcome
from tests.integration.edge import given
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.executor import FakeExecutor
from tests.routes import edge_of

HOST = "site.functions.localhost"


@pytest.fixture
def visitor(edge: Edge) -> Client:
    """A client that opened the function's address, without the API's headers."""
    return Client(edge, {"host": f"{HOST}:8080"})


async def published(services: Services, plain: Client, domain: str = HOST, **fields: Any) -> str:
    function_id = await given.running_function(services, plain, **{"execute": ["any"], **fields})
    made = await plain.post("/v1/proxy/rules/function", domain=domain, functionId=function_id)
    assert made.status == 201, made.body
    return function_id


def page_of(reply: Reply) -> tuple[int, str]:
    """Return status and error type of a page."""
    assert reply.headers["content-type"].startswith("text/html")
    return reply.status, reply.body.decode().partition("<code>")[2].partition("</code>")[0]


async def test_domain_request_reaches_the_code_as_sent(
    services: Services, plain: Client, visitor: Client, executor: FakeExecutor
) -> None:
    await published(services, plain)
    body = bytes(range(256))

    reply = await visitor.with_(x_own="yes", cookie="a=b; c=d=e", x_appwrite_user_id="forged").send(
        "PATCH", "/a/b c", query="x=1&x=2", content_type="application/octet-stream", body=body, pieces=3
    )

    assert reply.status == 200, reply.body
    run = executor.runs[-1]
    assert (run.method, run.path, run.body) == ("PATCH", "/a/b%20c?x=1&x=2", body)
    headers = dict(run.headers)
    assert (headers["x-own"], headers["cookie"], headers["host"]) == ("yes", "a=b; c=d=e", f"{HOST}:8080")
    assert (headers["x-appwrite-trigger"], headers["x-appwrite-user-id"]) == ("http", "")
    assert headers["x-appwrite-client-ip"] == "203.0.113.7"


@pytest.mark.behaviours(93, 94)
async def test_every_final_status_of_the_code_reaches_the_client(
    services: Services, plain: Client, visitor: Client, executor: FakeExecutor
) -> None:
    await published(services, plain)

    for code in (200, 201, 400, 404, 499, 500, 501, 502, 503, 504, 599, 600, 700, 999):
        executor.outcome = Outcome(status_code=code, body=b"own words")
        reply = await visitor.get("/")
        assert (reply.status, reply.body) == (code, b"own words")
        executor.outcome = Outcome(status_code=code)
        reply = await visitor.get("/")
        assert reply.status == code
        assert (str(code).encode() in reply.body) == (code >= 400)


@pytest.mark.behaviours(93, 94)
@pytest.mark.parametrize("code", [100, 101, 103, 199])
async def test_status_below_200_becomes_502_for_domain_requests(
    services: Services, plain: Client, visitor: Client, executor: FakeExecutor, code: int
) -> None:
    function_id = await published(services, plain)
    executor.outcome = Outcome(status_code=code)

    reply = await visitor.get("/")

    assert (reply.status, str(code).encode() in reply.body) == (502, True)
    [stored] = (await plain.get(f"/v1/functions/{function_id}/executions")).json["executions"]
    assert (stored["status"], stored["responseStatusCode"]) == ("completed", code)


async def test_domain_request_gets_the_codes_answer_byte_for_byte(
    services: Services, plain: Client, edge: Edge, executor: FakeExecutor
) -> None:
    function_id = await published(services, plain)
    sent = [
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("content-type", "image/png"),
        ("transfer-encoding", "chunked"),
    ]
    executor.answer = lambda _run: Outcome(status_code=418, headers=sent, body=b"\xff\x00\xfe")
    shown: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        shown.append(message)

    scope = {
        "type": "http", "method": "GET", "scheme": "http", "path": "/", "raw_path": b"/", "query_string": b"",
        "headers": [(b"host", HOST.encode()), (b"origin", b"https://elsewhere.test")], "client": ("::1", 1),
    }  # fmt: skip
    async with asyncio.timeout(120):
        await edge(scope, receive, send)

    [execution] = (await plain.get(f"/v1/functions/{function_id}/executions")).json["executions"]
    assert shown[0]["status"] == 418
    assert shown[0]["headers"] == [
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"content-type", b"image/png"),
        (b"x-appwrite-execution-id", execution["$id"].encode()),
        (b"content-length", b"3"),
    ]
    assert shown[1]["body"] == b"\xff\x00\xfe"
    assert (execution["trigger"], execution["status"], execution["$permissions"]) == ("http", "completed", [])


async def test_options_and_head_reach_the_function(
    services: Services, plain: Client, visitor: Client, executor: FakeExecutor
) -> None:
    await published(services, plain)

    assert (await visitor.send("OPTIONS", "/")).body == b"hello"
    assert (await visitor.send("HEAD", "/")).body == b""
    assert [run.method for run in executor.runs] == ["OPTIONS", "HEAD"]


async def test_rule_may_have_any_host_name_and_other_names_reach_the_api(
    services: Services, plain: Client, edge: Edge
) -> None:
    await published(services, plain, "shop.example.test")

    assert (await Client(edge, {"host": "SHOP.example.test"}).send("GET", "/v1/health")).body == b"hello"
    assert (await Client(edge, {"host": "other.example.test"}).get("/v1/health/version")).status == 200


async def test_function_that_cannot_run_answers_with_a_page(services: Services, plain: Client, visitor: Client) -> None:
    bare = visitor.with_(host="functions.localhost")
    assert page_of(await bare.send("GET", "/")) == (401, "general_access_forbidden")
    assert page_of(await visitor.send("GET", "/v1/functions")) == (404, "rule_not_found")

    function_id = await published(services, plain, execute=["users"])
    assert page_of(await visitor.send("GET", "/")) == (401, "function_execute_permission_missing")
    await plain.put(f"/v1/functions/{function_id}", name="fn", execute=["guests"], enabled=False)
    assert page_of(await visitor.send("GET", "/")) == (404, "function_not_found")
    active = (await plain.put(f"/v1/functions/{function_id}", name="fn", execute=["guests"])).json["deploymentId"]
    assert (await visitor.send("GET", "/")).status == 200
    await plain.delete(f"/v1/functions/{function_id}/deployments/{active}")
    assert page_of(await visitor.send("GET", "/")) == (404, "deployment_not_found")
    await plain.delete(f"/v1/functions/{function_id}")
    assert page_of(await visitor.send("GET", "/")) == (404, "rule_not_found")


async def test_error_without_a_body_gets_a_page(
    services: Services, plain: Client, visitor: Client, executor: FakeExecutor
) -> None:
    await published(services, plain)
    executor.answer = lambda _run: Outcome(status_code=404, headers=[("x-own", "kept")])

    reply = await visitor.send("GET", "/")

    assert (reply.status, reply.headers["x-own"]) == (404, "kept")
    assert b"404 Not Found" in reply.body


async def test_timeout_of_the_code_answers_with_a_page(
    services: Services, plain: Client, executor: FakeExecutor
) -> None:
    function_id = await published(services, plain)
    hurried = msgspec.structs.replace(services.settings, sync_wait_s=1)
    impatient = edge_of(msgspec.structs.replace(services, settings=hurried))
    executor.go = asyncio.Event()

    reply = await Client(impatient, {"host": HOST}).send("GET", "/")

    assert page_of(reply) == (408, "function_synchronous_timeout")
    [execution] = (await plain.get(f"/v1/functions/{function_id}/executions")).json["executions"]
    assert execution["status"] == "failed"
    assert executor.canceled == [execution["$id"]]
