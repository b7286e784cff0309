"""From headers to a caller: which project, which credential, and what the log's read models say of them."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from annals.app.caller import ADMIN_SCOPES, CONSOLE_SCOPES, GUEST, KEY_SCOPES, USER_SCOPES, Caller, Membership
from annals.app.negotiation import Generation
from annals.app.presented import has_cookie, presented
from annals.app.reads import Found, Lookup
from annals.app.refusals import JwtAndCookieSet, JwtInvalid, KeyExpired, ProjectIdMissing, UserBlocked
from annals.domain.errors import BadRequest, ProjectNotFound, UserUnauthorized
from annals.domain.project import CONSOLE
from annals.store import sql, tokens

QUERIES = sql.load(__package__, "credentials.sql")
ACCESS = Lookup(QUERIES["access"], 2)
USERS = Lookup(QUERIES["users"], 4)
ORIGINS = Lookup(QUERIES["origins"], 1)
_HANDED_OUT = ("ephemeral_", "dynamic_")

SigningSecret = Callable[[str], Awaitable[bytes]]
"""A project's secret that signs one kind of tokens."""


class Secrets(msgspec.Struct, frozen=True):
    """What signs the keys of running code, and the tokens of users."""

    keys: SigningSecret
    users: SigningSecret


def digest(secret: str) -> str:
    """What a standard key is looked up by: its secret is stored nowhere."""
    return hashlib.sha256(secret.encode()).hexdigest()


class UserClaim(msgspec.Struct, frozen=True):
    """The user that a request says it comes from, in a project or the console: known by a session's secret's digest,
    or by a token, which may name a session."""

    realm: str
    user_id: str
    digest: str = ""
    token: str = ""
    session_id: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What USERS looks up."""
        return self.realm, self.user_id, self.digest, self.session_id


class Claim(msgspec.Struct, frozen=True):
    """What a request says of itself; nothing of it is believed yet. `project` is empty for the console's."""

    project: str
    standard: str = ""
    """The digest of a standard key's secret."""
    handed_out: str = ""
    """The token of a key that running code was handed."""
    user: UserClaim | None = None
    admin: bool = False
    """The user is one of the console's and acts for the project."""

    @property
    def is_key(self) -> bool:
        return bool(self.standard or self.handed_out)


def claim(headers: Mapping[bytes, bytes], project_parameter: str, generation: Generation) -> Claim:
    """Read project and credential. Raises what can be told without asking anybody (http-api.md 3.2)."""
    named = _text(headers.get(b"x-appwrite-project", b""))
    project = named or project_parameter
    key = _text(headers.get(b"x-appwrite-key", b""))
    if key and not named and generation.newest:
        raise ProjectIdMissing
    if key and project in {"", CONSOLE}:
        raise UserUnauthorized
    admin = headers.get(b"x-appwrite-mode") == b"admin"
    if admin and project == CONSOLE:
        raise BadRequest("Admin mode is for a project: name one, or leave the mode out.")
    if project == CONSOLE:
        project = ""
    admin = admin and bool(project)
    user = _user(headers, project or CONSOLE, admin=admin)
    prefix, underscore, rest = key.partition("_")
    if key and (not underscore or prefix == "standard"):
        return Claim(project, standard=digest(key), user=user)
    if key.startswith(_HANDED_OUT):
        return Claim(project, handed_out=rest, user=user)
    return Claim(project, user=user, admin=admin and user is not None and not user.token)


def _user(headers: Mapping[bytes, bytes], realm: str, *, admin: bool) -> UserClaim | None:
    """Raises JwtInvalid for a token that is none, JwtAndCookieSet."""
    if token := _text(headers.get(b"x-appwrite-jwt", b"")):
        try:
            said = tokens.peek_user(token)
        except tokens.TokenInvalid:
            raise JwtInvalid from None
        if has_cookie(headers, realm):
            raise JwtAndCookieSet
        return UserClaim(realm, _text(said.user_id.encode()), token=token, session_id=_text(said.session_id.encode()))
    if admin:
        realm = CONSOLE
    found = presented(headers, realm)
    return None if found is None else UserClaim(realm, found.user_id, digest=found.digest)


async def judge(
    claimed: Claim, access: Found | None, user: Found | None, secrets: Secrets, *, host: str, now: datetime
) -> Caller:
    """Believe a claim or not; `access` is what ACCESS says of its project and digest, `user` what USERS says.

    Raises ProjectNotFound, UserUnauthorized, KeyExpired, JwtInvalid, UserBlocked. A handed-out key that does not hold
    makes a guest, and so does a session that is over. A key decides alone, whoever is signed in beside it.
    """
    row = None if access is None else access.rows[0]
    if row is not None and not row["known"]:
        raise ProjectNotFound
    if claimed.user is not None and claimed.user.token:
        await _verify(claimed.user, secrets.users, now)
    if row is not None and claimed.standard:
        return _standard(claimed, row, host, now)
    if claimed.handed_out:
        return _handed_out(claimed, await secrets.keys(claimed.project), host, now)
    if claimed.user is None or user is None or not user.rows:
        return GUEST
    return _signed_in(claimed, claimed.user, user.rows[0], now)


async def _verify(user: UserClaim, secret: SigningSecret, now: datetime) -> None:
    try:
        tokens.verify_user(user.token, await secret(user.realm), now.astimezone(UTC).timestamp())
    except tokens.TokenInvalid:
        raise JwtInvalid from None


def _signed_in(claimed: Claim, user: UserClaim, row: Mapping[str, Any], now: datetime) -> Caller:
    if user.digest or user.session_id:
        over = row["session_id"] is None or row["expires_at"] <= now
        if over or (user.digest and not hmac.compare_digest(row["digest"], user.digest)):
            return GUEST
    if not row["enabled"]:
        raise UserBlocked
    name, user_id = row["email"] or "User", row["user_id"]
    if claimed.admin:
        return Caller(word="owner", scopes=ADMIN_SCOPES, name=name, actor=f"admin:{user_id}")
    console = user.realm == CONSOLE
    return Caller(
        word="users",
        scopes=CONSOLE_SCOPES if console else USER_SCOPES,
        name=name,
        actor=f"{'admin' if console else 'user'}:{user_id}",
        user_id=user_id,
        session_id=row["session_id"] or "",
        by_token=bool(user.token),
        verified=row["verified"],
        labels=tuple(row["labels"]),
        memberships=tuple(Membership(member, team, tuple(roles)) for member, team, roles in row["memberships"]),
    )


def _standard(claimed: Claim, row: Mapping[str, Any], host: str, now: datetime) -> Caller:
    if row["key_id"] is None:
        raise UserUnauthorized
    if row["expires_at"] is not None and row["expires_at"] <= now:
        raise KeyExpired
    return _key(claimed.project, host, f"key:{row['key_id']}", frozenset(row["scopes"]))


def _handed_out(claimed: Claim, secret: bytes, host: str, now: datetime) -> Caller:
    try:
        claims = tokens.verify(claimed.handed_out, secret, now.astimezone(UTC).timestamp())
    except tokens.TokenInvalid:
        return GUEST
    if not hmac.compare_digest(claims.project_id.encode(), claimed.project.encode()):
        return GUEST
    key = _key(claimed.project, host, "key:ephemeral", frozenset(claims.scopes))
    return msgspec.structs.replace(key, depth=claims.depth) if claims.depth else key


def _key(project: str, host: str, actor: str, scopes: frozenset[str]) -> Caller:
    name = f"app.{project}@service.{host}"
    return Caller(word="applications", scopes=scopes | KEY_SCOPES, name=name, actor=actor)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
