"""The claims of requests, and their verification (http-api.md 3)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from annals.app.errors import JwtInvalid, KeyExpired, ProjectIdMissing, UnauthorizedScope
from annals.app.identity.caller import Caller, CallerMembership
from annals.app.identity.credentials import CredentialClaim, Looked, Secrets, claim, judge
from annals.app.identity.scopes import require_any
from annals.app.identity.secret_keys import digest
from annals.app.reads import ReadResult
from annals.domain.errors import ProjectNotFound, UserUnauthorized
from annals.store.secrets.tokens import Claims, Parent, TokenInvalid, ephemeral_key, sign, verify

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW.timestamp() + 60
PROJECT, KEY = b"x-appwrite-project", b"x-appwrite-key"


def found(**columns: Any) -> ReadResult:
    row = {"known": True, "key_id": None, "scopes": None, "expires_at": None, **columns}
    return ReadResult([row], 7)


async def secret(project: str) -> bytes:
    return f"secret of {project}".encode()


async def judged(claimed: CredentialClaim, read: ReadResult | None) -> Caller:
    return await judge(claimed, Looked(access=read), Secrets(secret, secret), host="annals.test", now=NOW)


@pytest.mark.parametrize("key", ["plain", "standard_0a1b", "standard_"])
def test_standard_key_is_looked_up_by_the_digest_of_all_of_it(key: str) -> None:
    assert claim({PROJECT: b"p", KEY: key.encode()}, "", newest=False) == CredentialClaim("p", standard=digest(key))


def test_key_with_an_unknown_prefix_claims_nothing() -> None:
    assert claim({PROJECT: b"p", KEY: b"magic_x"}, "", newest=False) == CredentialClaim("p")


def test_key_without_the_project_header_is_refused() -> None:
    with pytest.raises(ProjectIdMissing):
        claim({KEY: b"k"}, "p", newest=True)
    with pytest.raises(UserUnauthorized):
        claim({KEY: b"k"}, "", newest=False)
    assert claim({KEY: b"k"}, "p", newest=False) == CredentialClaim("p", standard=digest("k"))


def test_key_for_the_console_is_refused() -> None:
    with pytest.raises(UserUnauthorized):
        claim({PROJECT: b"console", KEY: b"k"}, "", newest=True)


def test_console_is_not_a_project() -> None:
    assert claim({PROJECT: b"console"}, "", newest=True) == claim({}, "", newest=True) == CredentialClaim("")


def test_forged_jwt_is_refused() -> None:
    with pytest.raises(JwtInvalid):
        claim({PROJECT: b"p", KEY: b"k", b"x-appwrite-jwt": b"garbage"}, "", newest=False)


async def test_unknown_project_is_the_first_error() -> None:
    with pytest.raises(ProjectNotFound):
        await judged(CredentialClaim("p", standard="d"), found(known=False))


async def test_key_that_is_unknown_or_expired_is_refused() -> None:
    with pytest.raises(UserUnauthorized):
        await judged(CredentialClaim("p", standard="d"), found())
    with pytest.raises(KeyExpired):
        await judged(CredentialClaim("p", standard="d"), found(key_id="k", scopes=[], expires_at=NOW))


async def test_key_holds_its_own_scopes_and_the_implicit_ones() -> None:
    later = NOW + timedelta(seconds=1)
    caller = await judged(
        CredentialClaim("p", standard="d"), found(key_id="k", scopes=["users.read"], expires_at=later)
    )

    assert caller.privileged
    assert caller.actor == "key:k"
    assert {"users.read", "global", "health.read", "public"} <= caller.scopes
    with pytest.raises(UnauthorizedScope) as error:
        require_any(caller, frozenset({"functions.write"}))
    assert str(error.value) == ('app.p@service.annals.test (role: applications) missing scopes (["functions.write"])')


def ephemeral(
    parent: Parent, *, secret: bytes, project: str = "p", expires: float = LATER, prefix: str = "dynamic"
) -> str:
    claims = Claims(project_id=project, scopes=["users.read"], exp=expires, parent=parent, child="ephemeral:e")
    return ephemeral_key(claims, secret, prefix=prefix)


async def caller_of(key: str, *parent: dict[str, Any]) -> Caller:
    """Return the caller of a key whose parent's lookup returns these rows."""
    claimed = claim({PROJECT: b"p", KEY: key.encode()}, "", newest=False)
    looked = Looked(access=found(), parent=ReadResult(parent, 7))
    return await judge(claimed, looked, Secrets(secret, secret), host="annals.test", now=NOW)


OF_KEY, OF_FUNCTION, OF_ADMIN = Parent("key", "k"), Parent("function", "f", "7"), Parent("admin", "u", "s")
KEY_ROW = {"scopes": ["users.read"], "expires_at": None}
FUNCTION_ROW = {"scopes": ["users.read"], "sequence": 7}
ADMIN_ROW = {"enabled": True, "session_id": "s", "expires_at": NOW + timedelta(seconds=9)}


@pytest.mark.parametrize("prefix", ["ephemeral", "dynamic"])
@pytest.mark.parametrize(
    ("parent", "row"), [(OF_KEY, KEY_ROW), (OF_FUNCTION, FUNCTION_ROW), (OF_ADMIN, ADMIN_ROW)], ids=lambda value: ""
)
async def test_ephemeral_key_acts_while_it_and_its_parent_last(
    prefix: str, parent: Parent, row: dict[str, Any]
) -> None:
    key = ephemeral(parent, secret=await secret("p"), prefix=prefix)

    caller = await caller_of(key, row)

    assert caller.privileged
    assert "users.read" in caller.scopes
    assert caller.actor == f"{parent.kind}:{parent.id}/ephemeral:e"
    assert caller.parent is None


async def test_invalid_ephemeral_key_makes_a_guest() -> None:
    right, wrong = await secret("p"), await secret("q")
    for key in (
        ephemeral(OF_KEY, expires=NOW.timestamp(), secret=right),
        ephemeral(OF_KEY, secret=wrong),
        ephemeral(OF_KEY, project="q", secret=right),
        "dynamic_nonsense",
    ):
        assert (await caller_of(key, KEY_ROW)).word == "guests"


@pytest.mark.parametrize(
    ("parent", "rows"),
    [
        (OF_KEY, []),
        (OF_KEY, [{**KEY_ROW, "expires_at": NOW}]),
        (OF_FUNCTION, []),
        (OF_FUNCTION, [{**FUNCTION_ROW, "sequence": 8}]),
        (OF_ADMIN, []),
        (OF_ADMIN, [{**ADMIN_ROW, "session_id": None}]),
        (OF_ADMIN, [{**ADMIN_ROW, "expires_at": NOW}]),
        (OF_ADMIN, [{**ADMIN_ROW, "enabled": False}]),
    ],
)
async def test_ephemeral_key_ends_with_its_parent(parent: Parent, rows: list[dict[str, Any]]) -> None:
    assert (await caller_of(ephemeral(parent, secret=await secret("p")), *rows)).word == "guests"


@pytest.mark.parametrize(("parent", "row"), [(OF_KEY, KEY_ROW), (OF_FUNCTION, FUNCTION_ROW)])
async def test_ephemeral_key_has_no_scope_that_its_parent_lacks(parent: Parent, row: dict[str, Any]) -> None:
    caller = await caller_of(ephemeral(parent, secret=await secret("p")), {**row, "scopes": ["teams.read"]})

    assert caller.privileged
    assert caller.scopes.isdisjoint({"users.read", "teams.read"})


async def test_token_that_names_no_parent_makes_a_guest() -> None:
    class Former(msgspec.Struct, rename="camel"):
        project_id: str
        scopes: list[str]
        exp: float

    token = sign(Former("p", ["users.read"], LATER), await secret("p"))

    assert (await caller_of(f"dynamic_{token}", KEY_ROW)).word == "guests"


async def test_user_without_a_project_is_a_guest() -> None:
    caller = await judged(CredentialClaim(""), None)

    assert caller.roles() == {"any", "guests"}
    with pytest.raises(UnauthorizedScope, match=r'User \(role: guests\) missing scopes \(\["functions.read"\]\)'):
        require_any(caller, frozenset({"functions.read"}))


def test_user_has_every_role_string_of_their_attributes() -> None:
    user = Caller(
        word="users",
        scopes=frozenset(),
        user_id="u",
        verified=True,
        labels=("vip",),
        memberships=(CallerMembership("m", "t", ("owner",)),),
    )

    assert user.roles() == {
        *("any", "users", "users/verified", "user:u", "user:u/verified", "label:vip"),
        *("member:m", "team:t", "team:t/owner"),
    }


@pytest.mark.parametrize("token", ["", "a.b.c", "...", "é.é.é", "a" * 9000, "e30.e30.e30"])
def test_malformed_token_is_refused(token: str) -> None:
    with pytest.raises(TokenInvalid):
        verify(token, b"secret", 0, Claims)


def test_token_of_another_algorithm_is_refused() -> None:
    head, payload, signature = ephemeral(OF_KEY, expires=9, secret=b"s").partition("_")[2].split(".")
    none = "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0"

    assert verify(f"{head}.{payload}.{signature}", b"s", 8, Claims).project_id == "p"
    with pytest.raises(TokenInvalid):
        verify(f"{none}.{payload}.", b"s", 8, Claims)
    with pytest.raises(TokenInvalid):
        verify(f"{head}.{payload}.{signature[:-1]}", b"s", 8, Claims)
