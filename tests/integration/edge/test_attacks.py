"""Attacks on the API: forged tokens, evaded limits, and expensive or injected queries."""

import base64
import json
from typing import Any

import psycopg
import pytest

from annals.app import wiring
from annals.app.account import sign_in_throttle
from annals.app.account.sign_in_throttle import Pace
from annals.app.edge.edge import Edge
from annals.app.services import Services
from annals.store.secrets.tokens import user_token
from tests.integration.edge import given
from tests.integration.edge.client import Client, dumps
from tests.integration.edge.given import user

ADA = {"email": "ada@x.test", "password": "password9"}
INJECTIONS = [
    *(
        "' OR 1=1 --",
        "'; DROP TABLE functions; --",
        '" OR ""="',
        "\\",
        "\\' OR 1=1 --",
        "%",
        "_",
        "%%",
        "a%",
        "*",
        ".*",
    ),
    *("%(project)s", "%s", "{}", "$1", "${jndi:ldap://x}", "1; SELECT pg_sleep(9)", "') OR ('1'='1", "\u02bc OR 1=1"),
    *("x' UNION SELECT secret FROM keys --", "/* */", "&|!", "a & b", ":*", "<->", "(", "((((", "\ufeff"),
]


@pytest.fixture(autouse=True)
def _short_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "STATEMENT_SECONDS", 1)


def encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


async def test_forged_tokens_authenticate_no_caller(plain: Client, services: Services) -> None:
    await user(plain, "ada")
    now, born = services.now().timestamp(), await services.database.value("SELECT sequence FROM users")
    right = user_token("ada", "", incarnation=born, expires=now + 60, secret=await services.token_secret("p1"))
    head, payload, signature = right.split(".")
    claims = {"userId": "ada", "sessionId": "", "incarnation": born, "exp": now + 9999}
    asking = plain.with_(x_appwrite_key=None)
    assert (await asking.with_(x_appwrite_jwt=right).get("/v1/account")).status == 200

    forged = [
        *(f"{encoded({'alg': alg, 'typ': 'JWT'})}.{payload}." for alg in ("none", "None", "NONE", "HS256", "")),
        *(f"{encoded({'alg': alg})}.{payload}.{signature}" for alg in ("none", "RS256", "HS512", "hs256")),
        f"{encoded({'typ': 'JWT'})}.{payload}.{signature}",
        f"{encoded({'alg': 'HS256', 'jwk': {'kty': 'oct', 'k': ''}})}.{payload}.{signature}",
        f"{encoded({'alg': 'HS256', 'kid': '../../dev/null'})}.{payload}.{signature}",
        f"{head}.{encoded(claims)}.{signature}",
        *(f"{head}.{payload}.{other}" for other in ("", signature[:-1], signature[::-1], f"{signature}=")),
        *(f"{right}{tail}" for tail in (".", ".x", "\N{SNOWMAN}", "=")),
        f"{head}.{encoded({**claims, 'exp': 'never'})}.{signature}",
        f"{head}.{encoded([claims])}.{signature}",
        user_token("ada", "", incarnation=0, expires=now, secret=await services.token_secret("p1")),
        user_token("ada", "", incarnation=0, expires=now + 60, secret=await services.token_secret("p2")),
        user_token("ada", "", incarnation=0, expires=now + 60, secret=b""),
        user_token("ada" * 9000, "", incarnation=0, expires=now + 60, secret=await services.token_secret("p1")),
        "." * 9000,
        "..",
        "Bearer " + right,
    ]
    for token in forged:
        reply = await asking.with_(x_appwrite_jwt=token).get("/v1/account")
        assert reply.error == (401, "user_jwt_invalid"), token[:200]
    elsewhere = asking.with_(x_appwrite_project="p2", x_appwrite_jwt=right)
    assert (await elsewhere.get("/v1/account")).error == (401, "user_jwt_invalid")


async def test_sign_in_throttle_ignores_claimed_addresses_and_spellings(
    plain: Client, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_throttle, "OF_ADDRESS", Pace(3, 600))
    guest = plain.with_(x_appwrite_key=None)
    await guest.post("/v1/account", userId="ada", **{**ADA, "password": "password8"})
    spoofs = [
        {name: f"203.0.113.{number}"}
        for number, name in enumerate(
            ("x_forwarded_for", "forwarded", "x_real_ip", "x_client_ip", "cf_connecting_ip", "true_client_ip", "via")
        )
    ]
    emails = ["ada@x.test", "ADA@x.test", "Ada@X.TEST", "ada@x.TEST"]
    statuses = []
    for number, spoof in enumerate(spoofs):
        email = emails[number % len(emails)]
        reply = await guest.with_(**spoof).post("/v1/account/sessions/email", **{**ADA, "email": email})
        statuses.append(reply.status)

    assert statuses == [401] * 3 + [429] * 4


SPELLINGS = [
    *(
        "\uff41da@x.test",
        "ada@x.te\u017ft",
        "ad\u0430@x.test",
        "ada@x.test\u200b",
        "ada@\u24e7.test",
        "ada@x\u3002test",
    ),
    *("ada@x.test ", " ada@x.test", "ada@x.test\n", "ada@x.test\0", '"ada"@x.test', "ada(c)@x.test", "ada@x.test."),
]


async def test_spellings_of_an_email_are_not_other_accounts(plain: Client) -> None:
    """Each spelling would have its own throttle, and might be folded into the same account."""
    guest = plain.with_(x_appwrite_key=None)
    for email in SPELLINGS:
        for path, more in (("/v1/account/sessions/email", {}), ("/v1/account", {"userId": "unique()"})):
            reply = await guest.post(path, **{**ADA, "email": email}, **more)
            assert reply.error == (400, "general_argument_invalid"), ascii(email)


async def test_sql_in_a_query_is_a_plain_value(services: Services, plain: Client) -> None:
    """Each text finds the one function with that name, or nothing. Wildcards are plain characters."""
    other = await given.running_function(services, plain)
    for number, text in enumerate(INJECTIONS):
        made = await plain.post("/v1/functions", functionId=f"f{number}", name=text, runtime="node-22")
        assert made.status == 201, made.body
    for number, text in enumerate(INJECTIONS):
        for method in ("equal", "startsWith", "contains", "endsWith"):
            reply = await plain.get("/v1/functions", [{"method": method, "attribute": "name", "values": [text]}])
            assert reply.status == 200, reply.body
            found = {row["$id"]: row["name"] for row in reply.json["functions"]}
            assert f"f{number}" in found
            assert other not in found or text in {"\\", "_"}
            assert all(text.lower() in name.lower() for name in found.values()), (method, text, found)
        assert (await plain.get("/v1/functions", search=text)).status == 200
    assert (await plain.get("/v1/functions")).json["total"] == len(INJECTIONS) + 1


async def test_no_name_in_a_query_reaches_the_statement(plain: Client) -> None:
    for text in INJECTIONS:
        queries: list[dict[str, Any]] = [
            {"method": "equal", "attribute": text, "values": ["a"]},
            {"method": text, "attribute": "name", "values": ["a"]},
            {"method": "orderAsc", "attribute": text},
            {"method": "cursorAfter", "values": [text]},
            {"method": "select", "values": [text]},
            {"method": "limit", "values": [text]},
            {"method": "offset", "values": [text]},
        ]
        for query in queries:
            reply = await plain.get("/v1/functions", [query])
            assert reply.error[0] == 400, query
        for name in ("groupBy[]", "measures[]", "filters[]", "interval", "top", "from", "format"):
            reply = await plain.get("/v1/usage", **{name: text})
            assert reply.status == 400, (name, text, reply.body)


async def test_largest_allowed_queries_are_answered(services: Services, plain: Client) -> None:
    await given.running_function(services, plain)
    wide = {"method": "contains", "attribute": "name", "values": [str(number) for number in range(490)]}
    assert len(dumps(wide)) < 4096
    nested: dict[str, Any] = wide
    for _ in range(3):
        nested = {"method": "or", "values": [nested, {"method": "isNull", "attribute": "name"}]}
    for queries in (
        [wide] * 2,
        [nested] * 2,
        [{"method": "orderRandom"}] * 97,
        [{"method": "offset", "values": [2**62]}],
    ):
        assert (await plain.get("/v1/functions", queries)).status == 200
    for queries in ([wide] * 97, [nested] * 97, [{**wide, "values": [*range(501)]}], [wide] * 101):
        assert (await plain.get("/v1/functions", queries)).error == (400, "general_argument_invalid")


async def test_query_that_keeps_postgres_busy_is_ended_and_others_are_answered(
    services: Services, plain: Client, database_url: str
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as other:
        await other.execute("LOCK TABLE functions IN ACCESS EXCLUSIVE MODE")
        reply = await plain.get("/v1/functions")
        assert reply.error == (408, "database_timeout")
        assert (await plain.get("/v1/users")).status == 200
        await other.rollback()
    assert (await plain.get("/v1/functions")).status == 200


async def test_answer_headers_never_echo_client_text(plain: Client) -> None:
    for value in ("a\r\nset-cookie: b=c", "a\nb", "a b", "é", "x" * 200, '"', "<script>", "\x1b[31m"):
        reply = await plain.with_(x_request_id=value, idempotency_key="k").get("/v1/functions")
        other = await plain.with_(x_appwrite_response_format=value).get("/v1/functions")

        assert value not in reply.headers.values()
        assert reply.headers["x-request-id"].isalnum()
        assert not any(c in text for r in (reply, other) for text in r.headers.values() for c in "\r\n\0")
