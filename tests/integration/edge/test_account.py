"""Sign-up, sign-in and sign-out (around.md 1), and the permissions of sessions and tokens (http-api.md 3.2)."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from annals.app.account import sign_in_throttle
from annals.app.account.sign_in_throttle import Pace
from annals.app.edge.edge import Edge
from annals.app.services import Services
from annals.domain.user import Session, User
from annals.store.log.log import Meta
from annals.store.secrets.tokens import user_token
from tests.integration.edge.client import Client
from tests.integration.edge.given import signed_in, user

ADA = {"email": "ada@x.test", "password": "password8"}


@pytest.fixture
def guest(plain: Client) -> Client:
    return plain.with_(x_appwrite_key=None)


async def signed_up(guest: Client, **fields: Any) -> dict[str, Any]:
    reply = await guest.post("/v1/account", userId="ada", **{**ADA, **fields})
    assert reply.status == 201, reply.body
    made: dict[str, Any] = reply.json
    return made


async def test_guest_signs_up_and_in_and_out(guest: Client) -> None:
    made = await signed_up(guest, name="Ada")
    assert "password" not in made
    assert made["name"] == "Ada"

    session = await guest.post("/v1/account/sessions/email", **ADA)
    assert session.status == 201
    assert (session.json["userId"], session.json["provider"], session.json["current"]) == ("ada", "email", True)
    assert session.json["secret"] == ""
    cookie = session.headers["set-cookie"]
    assert "HttpOnly" in cookie
    browser = guest.with_(cookie=cookie)
    assert (await browser.get("/v1/account")).json == made | {
        "accessedAt": session.json["$createdAt"]
    }  # fmt: skip
    sessions = (await browser.get("/v1/account/sessions")).json
    assert [one["current"] for one in sessions["sessions"]] == [True]
    assert (await browser.get("/v1/account/sessions/current")).json["$id"] == session.json["$id"]

    out = await browser.delete("/v1/account/sessions/current")
    assert out.status == 204
    assert "1970" in out.headers["set-cookie"]
    assert out.headers["x-fallback-cookies"] == "{}"
    assert (await browser.get("/v1/account")).error == (401, "general_unauthorized_scope")


@pytest.mark.parametrize("way", ["cookie", "legacy", "header", "fallback", "whole"])
async def test_session_is_presented_in_several_ways(guest: Client, way: str) -> None:
    await signed_up(guest)
    reply = await guest.post("/v1/account/sessions/email", **ADA)
    fallback = reply.headers["x-fallback-cookies"]
    value = msgspec.json.decode(fallback)["a_session_p1"]
    headers: dict[str, dict[str, str | None]] = {
        "cookie": {"cookie": f"theme=dark; a_session_p1={value}"},
        "legacy": {"cookie": f"a_session_p1_legacy={value.replace('=', '%3D')}"},
        "header": {"x_appwrite_session": value},
        "fallback": {"x_fallback_cookies": fallback},
        "whole": {"cookie": f"a_session_p1={value}; path=/; expires=Tue, 24 Nov 2026 10:00:00 GMT; HttpOnly"},
    }

    assert (await guest.with_(**headers[way]).get("/v1/account")).json["$id"] == "ada"
    other = guest.with_(**headers[way]).with_(x_appwrite_project="p2")
    assert (await other.get("/v1/account")).error == (401, "general_unauthorized_scope")


async def test_several_cookie_headers_are_joined(guest: Client) -> None:
    await signed_up(guest)
    reply = await guest.post("/v1/account/sessions/email", **ADA)
    value = msgspec.json.decode(reply.headers["x-fallback-cookies"])["a_session_p1"]
    browser = guest.with_(cookie=f"a_session_p1={value}")

    answer = await browser.send("GET", "/v1/account", more_headers=[(b"cookie", b"theme=dark")])
    assert answer.json["$id"] == "ada"


async def test_wrong_email_and_wrong_password_have_the_same_error(guest: Client) -> None:
    await signed_up(guest)

    for wrong in ({"email": "nobody@x.test"}, {"password": "password9"}):
        reply = await guest.post("/v1/account/sessions/email", **{**ADA, **wrong})
        assert reply.error == (401, "user_invalid_credentials")
    taken = await guest.post("/v1/account", userId="b", **ADA)
    assert taken.error == (409, "user_already_exists")


@pytest.mark.behaviours(5, 11)
async def test_error_of_a_user_names_the_missing_scope(key: Client) -> None:
    await user(key, "u1", email="u1@x.test")
    u1 = await signed_in(key, "u1")

    reply = await u1.get("/v1/functions")
    assert reply.error == (401, "general_unauthorized_scope")
    assert "role: users" in reply.message
    assert reply.message.startswith("u1@x.test ")
    assert (await u1.json("POST", "/v1/functions", {"functionId": "_"})).error[0] == 401


async def test_token_stands_for_its_user_while_its_session_lasts(plain: Client) -> None:
    await user(plain, "ada")
    ada = await signed_in(plain, "ada")
    token = (await ada.post("/v1/account/jwts")).json["jwt"]
    by_token = ada.with_(x_appwrite_session=None, x_appwrite_jwt=token)

    assert (await by_token.get("/v1/account")).json["$id"] == "ada"
    assert (await by_token.post("/v1/account/jwt")).error == (401, "user_unauthorized")
    await ada.delete("/v1/account/sessions")
    assert (await by_token.get("/v1/account")).error == (401, "general_unauthorized_scope")


async def test_keys_make_tokens_with_and_without_a_session(plain: Client) -> None:
    await user(plain, "ada")
    session = (await plain.post("/v1/users/ada/sessions")).json
    guest = plain.with_(x_appwrite_key=None)

    for sent in ({}, {"sessionId": session["$id"]}, {"sessionId": "recent"}):
        token = (await plain.json("POST", "/v1/users/ada/jwts", {**sent, "duration": 60})).json["jwt"]
        assert (await guest.with_(x_appwrite_jwt=token).get("/v1/account")).status == 200
    assert (await plain.post("/v1/users/ada/jwts", duration=3601)).error == (400, "general_argument_invalid")
    assert (await plain.post("/v1/users/ada/jwts", sessionId="x")).error == (404, "user_session_not_found")
    assert (await plain.post("/v1/users/nobody/jwts")).error == (404, "user_not_found")


@pytest.mark.behaviours(13)
async def test_invalid_token_is_refused(plain: Client, services: Services) -> None:
    await user(plain, "ada")
    now = services.now().timestamp()
    secret, foreign = await services.token_secret("p1"), await services.token_secret("p2")
    for token in (
        user_token("ada", "", incarnation=0, expires=now - 1, secret=secret),
        user_token("ada", "", incarnation=0, expires=now + 60, secret=foreign),
        user_token("ada", "", incarnation=0, expires=now + 60, secret=await services.signing_secret("p1")),
        "garbage",
    ):
        for client in (plain, plain.with_(x_appwrite_key=None)):
            reply = await client.with_(x_appwrite_jwt=token).get("/v1/functions/runtimes")
            assert reply.error == (401, "user_jwt_invalid")
    gone = user_token("nobody", "", incarnation=0, expires=now + 60, secret=secret)
    assert (await plain.with_(x_appwrite_key=None, x_appwrite_jwt=gone).get("/v1/account")).status == 401


async def test_token_of_a_deleted_user_is_invalid_for_a_new_user_with_the_id(plain: Client) -> None:
    await user(plain, "ada", **ADA)
    token = (await plain.post("/v1/users/ada/jwts", sessionId="")).json["jwt"]
    former = plain.with_(x_appwrite_key=None, x_appwrite_jwt=token)
    assert (await former.get("/v1/account")).json["$id"] == "ada"

    await plain.delete("/v1/users/ada")
    assert (await former.get("/v1/account")).error == (401, "general_unauthorized_scope")
    await user(plain, "ada", **ADA)

    assert (await former.get("/v1/account")).error == (401, "general_unauthorized_scope")
    latter = (await plain.post("/v1/users/ada/jwts", sessionId="")).json["jwt"]
    assert (await former.with_(x_appwrite_jwt=latter).get("/v1/account")).json["$id"] == "ada"


async def test_token_without_session_and_creation_position_is_refused(plain: Client, services: Services) -> None:
    """Old tokens do not name the user's creation and are only valid with their session."""
    await user(plain, "ada", **ADA)
    session = (await plain.post("/v1/users/ada/sessions")).json["$id"]
    secret, expires = await services.token_secret("p1"), services.now().timestamp() + 60
    for session_id, status in ((session, 200), ("", 401)):
        token = user_token("ada", session_id, incarnation=0, expires=expires, secret=secret)
        reply = await plain.with_(x_appwrite_key=None, x_appwrite_jwt=token).get("/v1/account")
        assert reply.status == status


async def test_token_and_a_cookie_are_not_used_together(plain: Client) -> None:
    await user(plain, "ada")
    ada = await signed_in(plain, "ada")
    token = (await ada.post("/v1/account/jwts")).json["jwt"]
    both = ada.with_(cookie=f"a_session_p1={ada.headers['x-appwrite-session']}", x_appwrite_jwt=token)

    assert (await both.get("/v1/account")).error == (403, "user_jwt_and_cookie_set")
    assert (await ada.with_(x_appwrite_jwt=token).get("/v1/account")).status == 200


async def test_blocked_user_is_refused_at_once(plain: Client) -> None:
    await user(plain, "ada", **ADA)
    ada = await signed_in(plain, "ada")
    token = (await ada.post("/v1/account/jwts")).json["jwt"]

    await plain.patch("/v1/users/ada/status", status=False)

    assert (await ada.get("/v1/account")).error == (403, "user_blocked")
    by_token = ada.with_(x_appwrite_session=None, x_appwrite_jwt=token)
    assert (await by_token.get("/v1/functions/runtimes")).error == (403, "user_blocked")
    guest = plain.with_(x_appwrite_key=None)
    assert (await guest.post("/v1/account/sessions/email", **ADA)).error == (403, "user_blocked")


async def test_expired_session_makes_a_guest(plain: Client, services: Services) -> None:
    await user(plain, "ada")
    ada = await signed_in(plain, "ada")
    over = Session(session_id="over", digest="d" * 64, provider="email", expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    await services.log.run(User.open_session, User.key("p1", "ada"), meta=Meta(actor="test"), session=over)

    token = (await plain.post("/v1/users/ada/jwts", sessionId="over")).error
    assert token == (404, "user_session_not_found")
    secret = await services.token_secret("p1")
    late = user_token("ada", "over", incarnation=0, expires=services.now().timestamp() + 60, secret=secret)
    by_token = ada.with_(x_appwrite_session=None, x_appwrite_jwt=late)
    assert (await by_token.get("/v1/account")).error == (401, "general_unauthorized_scope")


async def test_key_beside_a_session_decides(plain: Client) -> None:
    await user(plain, "ada")
    ada = await signed_in(plain, "ada")
    both = ada.with_(x_appwrite_key="p1-all")

    assert (await both.get("/v1/functions")).status == 200
    assert (await both.get("/v1/account")).error == (401, "general_unauthorized_scope")


async def test_unknown_session_makes_a_guest(guest: Client) -> None:
    for value in ("", "x", "e30=", "eyJpZCI6ImFkYSIsInNlY3JldCI6IngifQ==", "%00", "A" * 5000):
        reply = await guest.with_(x_appwrite_session=value or None).get("/v1/account")
        assert reply.error == (401, "general_unauthorized_scope")
        assert "role: guests" in reply.message


async def test_password_guessing_is_slowed_without_harm_to_others(
    guest: Client, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_throttle, "OF_ADDRESS", Pace(3, 600))
    monkeypatch.setattr(sign_in_throttle, "OF_STRANGERS", Pace(5, 600))
    await signed_up(guest)
    await guest.post("/v1/account", userId="bob", email="bob@x.test", password="password8")
    home, cafe = guest.from_("198.51.100.1"), guest.from_("198.51.100.2")
    assert (await home.post("/v1/account/sessions/email", **ADA)).status == 201

    wrong = {**ADA, "password": "password9"}
    replies = await asyncio.gather(
        *(guest.from_("203.0.113.9").post("/v1/account/sessions/email", **wrong) for _ in range(8))
    )
    assert sorted(reply.status for reply in replies) == [401] * 3 + [429] * 5
    refused = next(reply for reply in replies if reply.status == 429)
    assert refused.error == (429, "general_rate_limit_exceeded")
    assert 0 < int(refused.headers["retry-after"]) <= 600
    later = [await guest.from_(f"2001:db8:{n}::1").post("/v1/account/sessions/email", **wrong) for n in range(4)]
    assert [reply.status for reply in later] == [401, 401, 429, 429]

    assert (await home.post("/v1/account/sessions/email", **ADA)).status == 201
    bob = {"email": "bob@x.test", "password": "password8"}
    assert (await cafe.post("/v1/account/sessions/email", **bob)).status == 201
    assert (await guest.from_("203.0.113.9").post("/v1/account/sessions/email", **bob)).status == 201


async def test_sign_up_makes_no_admin(anonymous: Client) -> None:
    for client in (anonymous, anonymous.with_(x_appwrite_project="console")):
        reply = await client.post("/v1/account", userId="x", **ADA)
        assert reply.error == (401, "general_access_forbidden")
