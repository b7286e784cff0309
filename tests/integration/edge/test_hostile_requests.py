"""Requests and answers that an honest peer never sends, as the edge gets them from its HTTP server."""

import asyncio
import base64
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from annals.app.edge import call
from annals.app.edge.edge import Edge
from annals.app.hosts.domain_request import RULE
from annals.app.services import Services
from annals.domain.ports import Outcome
from tests.integration.edge.client import Client, Reply
from tests.integration.edge.executor import FakeExecutor
from tests.integration.edge.given import installation
from tests.integration.edge.test_attacks import encoded
from tests.integration.edge.test_function_domains import HOST, published
from tests.integration.edge.test_installations import deliver


async def fed(edge: Edge, pieces: AsyncIterator[dict[str, Any]], headers: list[tuple[bytes, bytes]]) -> Reply:
    """Return the answer to a request whose body arrives as scripted."""
    shown: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        shown.append(message)

    scope = {
        "type": "http", "method": "POST", "scheme": "http", "path": "/v1/functions", "raw_path": b"/v1/functions",
        "query_string": b"", "headers": [*headers, (b"transfer-encoding", b"chunked")], "client": ("::1", 1),
    }  # fmt: skip
    async with asyncio.timeout(120):
        await edge(scope, pieces.__anext__, send)
    start, *rest = shown
    return Reply(start["status"], start["headers"], b"".join(message["body"] for message in rest))


KEY = [(b"x-appwrite-project", b"p1"), (b"x-appwrite-key", b"p1-all"), (b"content-type", b"application/json")]


async def trickle(pause: float) -> AsyncIterator[dict[str, Any]]:
    while True:
        await asyncio.sleep(pause)
        yield {"type": "http.request", "body": b" ", "more_body": True}


@pytest.mark.parametrize("pause", [0.01, 30.0])
async def test_body_that_trickles_or_stalls_times_out(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    monkeypatch.setattr(call, "BODY_SECONDS", 0.3)

    reply = await fed(edge, trickle(pause), KEY)

    assert reply.error == (408, "general_request_timeout")


async def test_body_that_arrives_fast_enough_never_times_out(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece extends the timeout by the time of the slowest allowed sender, a minute here."""
    monkeypatch.setattr(call, "BODY_SECONDS", 0.1)

    async def steady() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": b" " * 60 * call.SLOWEST, "more_body": True}
        for left in range(20, -1, -1):
            await asyncio.sleep(0.01)
            yield {"type": "http.request", "body": b" ", "more_body": bool(left)}

    reply = await fed(edge, steady(), KEY)

    assert reply.error == (400, "general_argument_invalid")


async def test_body_with_broken_framing_answers_400(edge: Edge) -> None:
    async def broken() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": b'{"functionId":', "more_body": True}
        while True:
            yield {"type": "http.disconnect"}

    reply = await fed(edge, broken(), KEY)

    assert reply.error == (400, "general_bad_request")


async def test_request_with_two_hosts_is_refused(
    services: Services, plain: Client, edge: Edge, executor: FakeExecutor
) -> None:
    await published(services, plain)
    for first, second in ((HOST, "localhost"), ("localhost", HOST)):
        reply = await Client(edge, {"host": first}).send("GET", "/", more_headers=[(b"host", second.encode())])
        assert reply.error == (400, "general_bad_request")
    assert executor.runs == []


async def test_headers_of_a_domain_request_keep_their_bytes(
    services: Services, plain: Client, edge: Edge, executor: FakeExecutor
) -> None:
    await published(services, plain)
    text = "é日本語\U0010ffff\t\u0085"
    executor.answer = lambda run: Outcome(status_code=200, headers=[("x-said", dict(run.headers)["x-said"])], body=b"")

    reply = await Client(edge, {"host": HOST}).send("GET", "/", more_headers=[(b"x-said", text.encode())])

    assert reply.headers["x-said"].encode("latin-1") == text.encode()


async def test_invalid_response_headers_are_dropped(
    services: Services, plain: Client, edge: Edge, executor: FakeExecutor
) -> None:
    """Code may write to its socket itself and bypass the server that it was given."""
    await published(services, plain)
    odd = [("x-a", "b\r\nset-cookie: c=d"), ("x-b", "\0"), ("x c", "d"), ("x-e\r\n", "f"), ("", "g"), ("é", "h")]
    executor.answer = lambda run: Outcome(status_code=200, headers=[*odd, ("x-good", "kept")], body=b"")

    reply = await Client(edge, {"host": HOST}).send("GET", "/")

    assert set(reply.headers) == {"x-good", "x-appwrite-execution-id", "content-length"}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/functions",
        "/v1/functions/a\0/executions",
        "/v1/functions/a\0/deployments",
        "/v1/functions/a\0/variables/b\0",
        "/v1/vcs/installations/a\0/pushes",
        "/v1/projects/a\0",
        "/v1/teams/a\0/memberships",
        "/v1/proxy/rules/a\0",
        "/v1/events/a\0",
    ],
)
async def test_nul_in_a_path_or_the_project_parameter_causes_no_server_error(
    plain: Client, method: str, path: str
) -> None:
    guest = plain.with_(x_appwrite_key=None, x_appwrite_project=None)
    for client in (plain, guest, guest.with_(x_appwrite_key="p1-all")):
        for query in ("", "project=a%00", "queries[]=%00&search=%00&cursor=%00", "project[]=%00"):
            reply = await client.send(method, path, query=query, content_type="application/json", body=b"{}")
            assert reply.status < 500, (query, reply.body)


async def test_nul_in_the_claims_of_a_token_causes_no_server_error(plain: Client) -> None:
    """The claims name the rows to look up before anything is verified."""
    later = 4_000_000_000
    for parent in (["key", "k\0"], ["function", "f\0", "\0"], ["admin", "u\0", "s\0"], ["key", "\ud800"]):
        claims = {"projectId": "p1", "scopes": [], "exp": later, "parent": parent, "child": "\0"}
        key = f"dynamic_{encoded({'alg': 'HS256'})}.{encoded(claims)}.x"
        assert (await plain.with_(x_appwrite_key=key).get("/v1/functions")).status == 401
    for user_id, session_id in (("u\0", ""), ("u", "s\0"), ("\ud800", "")):
        claims = {"userId": user_id, "sessionId": session_id, "exp": later}
        jwt = f"{encoded({'alg': 'HS256'})}.{encoded(claims)}.x"
        reply = await plain.with_(x_appwrite_key=None, x_appwrite_jwt=jwt).get("/v1/account")
        assert reply.error == (401, "user_jwt_invalid")


DEEP = b'{"a":' + b"[" * 1500
"""Nested deeper than Python's recursion limit, in fewer bytes than any credential may have."""

UNREADABLE = {
    "text that is not UTF-8": b'{"id":"\xff","userId":"\xff"}',
    "deep lists": DEEP,
    "nothing": b"",
    "no map": b"[]",
}


def _base64(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


@pytest.mark.parametrize("name", UNREADABLE)
async def test_unreadable_credential_causes_no_server_error(plain: Client, name: str) -> None:
    """JSON that a guest sends in a header, before anything else of the request is checked."""
    content = UNREADABLE[name]
    credentials = {
        "x_appwrite_jwt": b"e30." + _base64(content) + b".a",
        "x_appwrite_key": b"dynamic_e30." + _base64(content) + b".a",
        "x_appwrite_session": _base64(content),
        "x_fallback_cookies": content,
        "cookie": b"a_session_p1=" + _base64(content),
    }
    for header, value in credentials.items():
        guest = plain.with_(x_appwrite_key=None).with_(**{header: value.decode("latin-1")})
        for path in ("/v1/account", "/v1/functions"):
            reply = await guest.get(path)
            assert reply.status in {400, 401}, (header, reply.body)
            assert reply.error[0] == reply.status


@pytest.mark.parametrize(
    "body",
    [
        *UNREADABLE.values(),
        b'{"ref": "\xed\xa0\x80", "repository": {}}',
        b'{"ref": "refs/heads/main", "repository": ' + DEEP,
        b'{"ref": "refs/heads/main", "repository": {"id": 1e999}}',
    ],
)
async def test_unreadable_signed_push_causes_no_server_error(plain: Client, body: bytes) -> None:
    installation_id = await installation(plain)

    reply = await deliver(plain, installation_id, body)

    assert reply.error == (400, "general_argument_invalid")


async def test_lookup_that_fails_for_a_request_that_has_ended_logs_nothing(services: Services) -> None:
    """A refused request does not await its lookups, and a client chooses their keys."""
    shown: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: shown.append(context))

    left = services.reads.look_up(RULE, "a\0")
    while not left.done():  # awaiting it would mark its exception as retrieved
        await asyncio.sleep(0)
    await services.reads.look_up(RULE, "a")  # until then the failed batch may still hold it
    del left
    gc.collect()

    assert shown == []
