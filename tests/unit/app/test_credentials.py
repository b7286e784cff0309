"""What requests claim, and what becomes of the claim (http-api.md 3)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from annals.app.caller import Caller, Membership
from annals.app.credentials import Claim, Secrets, claim, digest, judge
from annals.app.negotiation import negotiate
from annals.app.reads import Found
from annals.app.refusals import JwtInvalid, KeyExpired, ProjectIdMissing, UnauthorizedScope
from annals.domain.errors import ProjectNotFound, UserUnauthorized
from annals.store.tokens import TokenInvalid, ephemeral_key, verify

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FORMER, NEWEST = negotiate("1.8.0"), negotiate("2.5.0")
PROJECT, KEY = b"x-appwrite-project", b"x-appwrite-key"


def found(**columns: Any) -> Found:
    row = {"known": True, "key_id": None, "scopes": None, "expires_at": None, **columns}
    return Found([row], 7)


async def secret(project: str) -> bytes:
    return f"secret of {project}".encode()


async def judged(claimed: Claim, read: Found | None) -> Caller:
    return await judge(claimed, read, None, Secrets(secret, secret), host="annals.test", now=NOW)


@pytest.mark.parametrize("key", ["plain", "standard_0a1b", "standard_"])
def test_a_standard_key_is_looked_up_by_the_digest_of_all_of_it(key: str) -> None:
    assert claim({PROJECT: b"p", KEY: key.encode()}, "", FORMER) == Claim("p", standard=digest(key))


def test_a_key_with_an_unknown_prefix_claims_nothing() -> None:
    assert claim({PROJECT: b"p", KEY: b"magic_x"}, "", FORMER) == Claim("p")


def test_a_key_without_the_project_header_is_refused() -> None:
    with pytest.raises(ProjectIdMissing):
        claim({KEY: b"k"}, "p", NEWEST)
    with pytest.raises(UserUnauthorized):
        claim({KEY: b"k"}, "", FORMER)
    assert claim({KEY: b"k"}, "p", FORMER) == Claim("p", standard=digest("k"))


def test_a_key_for_the_console_is_refused() -> None:
    with pytest.raises(UserUnauthorized):
        claim({PROJECT: b"console", KEY: b"k"}, "", NEWEST)


def test_the_console_is_no_project() -> None:
    assert claim({PROJECT: b"console"}, "", NEWEST) == claim({}, "", NEWEST) == Claim("")


def test_a_jwt_that_nobody_issued_is_refused() -> None:
    with pytest.raises(JwtInvalid):
        claim({PROJECT: b"p", KEY: b"k", b"x-appwrite-jwt": b"garbage"}, "", FORMER)


async def test_an_unknown_project_is_told_before_anything_else() -> None:
    with pytest.raises(ProjectNotFound):
        await judged(Claim("p", standard="d"), found(known=False))


async def test_a_key_that_is_unknown_or_expired_is_refused() -> None:
    with pytest.raises(UserUnauthorized):
        await judged(Claim("p", standard="d"), found())
    with pytest.raises(KeyExpired):
        await judged(Claim("p", standard="d"), found(key_id="k", scopes=[], expires_at=NOW))


async def test_a_key_holds_its_own_scopes_and_the_implicit_ones() -> None:
    later = NOW + timedelta(seconds=1)
    caller = await judged(Claim("p", standard="d"), found(key_id="k", scopes=["users.read"], expires_at=later))

    assert caller.privileged
    assert caller.actor == "key:k"
    assert {"users.read", "global", "health.read", "public"} <= caller.scopes
    with pytest.raises(UnauthorizedScope) as refusal:
        caller.require(frozenset({"functions.write"}))
    assert str(refusal.value) == ('app.p@service.annals.test (role: applications) missing scopes (["functions.write"])')


async def test_a_handed_out_key_acts_while_it_lasts() -> None:
    expires = NOW.timestamp() + 60
    for prefix in ("ephemeral", "dynamic"):
        key = ephemeral_key("p", ["users.read"], expires=expires, secret=await secret("p"), prefix=prefix)
        caller = await judged(claim({PROJECT: b"p", KEY: key.encode()}, "", FORMER), found())
        assert caller.privileged
        assert "users.read" in caller.scopes


async def test_a_handed_out_key_that_does_not_hold_makes_a_guest() -> None:
    right, wrong = await secret("p"), await secret("q")
    later, gone = NOW.timestamp() + 60, NOW.timestamp()
    for key in (
        ephemeral_key("p", ["users.read"], expires=gone, secret=right),
        ephemeral_key("p", ["users.read"], expires=later, secret=wrong),
        ephemeral_key("q", ["users.read"], expires=later, secret=right),
        "dynamic_nonsense",
    ):
        caller = await judged(claim({PROJECT: b"p", KEY: key.encode()}, "", FORMER), found())
        assert caller.word == "guests"


async def test_who_names_no_project_is_a_guest() -> None:
    caller = await judged(Claim(""), None)

    assert caller.roles() == {"any", "guests"}
    with pytest.raises(UnauthorizedScope, match=r'User \(role: guests\) missing scopes \(\["functions.read"\]\)'):
        caller.require(frozenset({"functions.read"}))


def test_a_user_answers_to_every_role_that_fits() -> None:
    user = Caller(
        word="users",
        scopes=frozenset(),
        user_id="u",
        verified=True,
        labels=("vip",),
        memberships=(Membership("m", "t", ("owner",)),),
    )

    assert user.roles() == {
        *("any", "users", "users/verified", "user:u", "user:u/verified", "label:vip"),
        *("member:m", "team:t", "team:t/owner"),
    }


@pytest.mark.parametrize("token", ["", "a.b.c", "...", "é.é.é", "a" * 9000, "e30.e30.e30"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(TokenInvalid):
        verify(token, b"secret", 0)


def test_a_token_of_another_algorithm_is_refused() -> None:
    head, payload, signature = ephemeral_key("p", [], expires=9, secret=b"s").partition("_")[2].split(".")
    none = "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0"

    assert verify(f"{head}.{payload}.{signature}", b"s", 8).project_id == "p"
    with pytest.raises(TokenInvalid):
        verify(f"{none}.{payload}.", b"s", 8)
    with pytest.raises(TokenInvalid):
        verify(f"{head}.{payload}.{signature[:-1]}", b"s", 8)
