"""Identifies the caller: reads project and credential from headers and checks them against read models."""

import hmac
from collections.abc import Awaitable, Callable, Hashable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from annals.app.errors import JwtAndCookieSet, JwtInvalid, KeyExpired, ProjectIdMissing, UserBlocked
from annals.app.identity.caller import (
    ADMIN_SCOPES,
    CONSOLE_SCOPES,
    GUEST,
    KEY_SCOPES,
    USER_SCOPES,
    Caller,
    CallerMembership,
)
from annals.app.identity.presented import has_cookie, presented
from annals.app.identity.secret_keys import digest
from annals.app.reads import Lookup, ReadResult
from annals.domain.errors import BadRequest, ProjectNotFound, UserUnauthorized
from annals.domain.project import CONSOLE
from annals.store.postgres import sql
from annals.store.secrets import tokens

QUERIES = sql.load(__package__, "credentials.sql")
ACCESS = Lookup(QUERIES["access"], 2, first=True)
USERS = Lookup(QUERIES["users"], 4)
ORIGINS = Lookup(QUERIES["origins"], 1)
_PARENTS = {"key": Lookup(QUERIES["parent_keys"], 2), "function": Lookup(QUERIES["parent_functions"], 2)}
_HANDED_OUT = ("ephemeral_", "dynamic_")

KEY_UNKNOWN = "The API key does not belong to this project. `annals keys list` shows the project's keys."
KEY_VOID = "The API key has expired, is malformed or belongs to another project, so the request counts as a guest's."
PROJECT_UNKNOWN = "No project has the id in X-Appwrite-Project. `annals projects list` shows all projects."

SigningSecret = Callable[[str], Awaitable[bytes]]
"""Returns a project's secret that signs one kind of tokens."""


class Secrets(msgspec.Struct, frozen=True):
    """The secrets that sign ephemeral keys and user tokens."""

    keys: SigningSecret
    users: SigningSecret


class UserClaim(msgspec.Struct, frozen=True):
    """The user that a request claims to come from, in a project or the console.

    The claim holds the digest of a session's secret, or a token. A token may name a session, and the position at which
    the user was created.
    """

    realm: str
    user_id: str
    digest: str = ""
    token: str = ""
    session_id: str = ""
    incarnation: int = 0

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The key with which USERS looks the user up."""
        return self.realm, self.user_id, self.digest, self.session_id


class CredentialClaim(msgspec.Struct, frozen=True):
    """The unverified credentials of a request. `project` is empty for the console."""

    project: str
    standard: str = ""
    """The digest of a standard key's secret."""
    handed_out: str = ""
    """The token of an ephemeral key."""
    parent: tokens.Parent | None = None
    """The parent that the token names; None if the token is malformed."""
    user: UserClaim | None = None
    admin: bool = False
    """The user is one of the console's and acts for the project."""

    @property
    def is_key(self) -> bool:
        return bool(self.standard or self.handed_out)

    @property
    def credential(self) -> Hashable | None:
        """An identifier of this credential that holds no secret, or None for a guest's request."""
        if self.standard:
            return self.project, self.standard
        if self.handed_out:
            return self.project, digest(self.handed_out)
        if self.user is not None:
            return (*self.user.key, digest(self.user.token))
        return None

    @property
    def parent_lookup(self) -> tuple[Lookup, tuple[str, ...]] | None:
        """The lookup of the parent that an ephemeral key names, and its key."""
        if self.parent is None:
            return None
        if self.parent.kind == "admin":
            return USERS, (CONSOLE, self.parent.id, "", self.parent.instance)
        return _PARENTS[self.parent.kind], (self.project, self.parent.id)


class Looked(NamedTuple):
    """The rows that belong to a claim: those of its project and key, its user, and its ephemeral key's parent."""

    access: ReadResult | None = None
    user: ReadResult | None = None
    parent: ReadResult | None = None


def claim(headers: Mapping[bytes, bytes], project_parameter: str, *, newest: bool) -> CredentialClaim:
    """Read project and credential. Raises the errors that need no lookup, which the newest API version has more of
    (http-api.md 3.2)."""
    named = _text(headers.get(b"x-appwrite-project", b""))
    project = named or project_parameter.replace("\0", "\N{REPLACEMENT CHARACTER}")
    key = _text(headers.get(b"x-appwrite-key", b""))
    if key and not named and newest:
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
        return CredentialClaim(project, standard=digest(key), user=user)
    if key.startswith(_HANDED_OUT):
        return CredentialClaim(project, handed_out=rest, parent=_parent(rest), user=user)
    return CredentialClaim(project, user=user, admin=admin and user is not None and not user.token)


def _parent(token: str) -> tokens.Parent | None:
    try:
        kind, *rest = tokens.peek(token, tokens.Claims).parent
    except tokens.TokenInvalid:
        return None
    return tokens.Parent(kind, *(_text(part.encode("utf-8", "replace")) for part in rest))


def _user(headers: Mapping[bytes, bytes], realm: str, *, admin: bool) -> UserClaim | None:
    """Return the claimed user, or None. Raises JwtInvalid for a malformed token, JwtAndCookieSet."""
    if token := _text(headers.get(b"x-appwrite-jwt", b"")):
        try:
            said = tokens.peek(token, tokens.UserClaims)
        except tokens.TokenInvalid:
            raise JwtInvalid from None
        if has_cookie(headers, realm):
            raise JwtAndCookieSet
        return UserClaim(
            realm,
            _text(said.user_id.encode()),
            token=token,
            session_id=_text(said.session_id.encode()),
            incarnation=said.incarnation,
        )
    if admin:
        realm = CONSOLE
    found = presented(headers, realm)
    return None if found is None else UserClaim(realm, found.user_id, digest=found.digest)


async def judge(claimed: CredentialClaim, looked: Looked, secrets: Secrets, *, host: str, now: datetime) -> Caller:
    """Return the caller that a claim proves.

    Raises ProjectNotFound, UserUnauthorized, KeyExpired, JwtInvalid, UserBlocked. An invalid ephemeral key and a closed
    session make a guest. If a key is sent, it alone decides, also beside a session.
    """
    row = None if looked.access is None else looked.access.rows[0]
    if row is not None and not row["known"]:
        raise ProjectNotFound(hint=PROJECT_UNKNOWN)
    if claimed.user is not None and claimed.user.token:
        await _verify(claimed.user, secrets.users, now)
    if row is not None and claimed.standard:
        return _standard(claimed, row, host, now)
    if claimed.handed_out:
        return _ephemeral(claimed, looked.parent, await secrets.keys(claimed.project), host, now)
    if claimed.user is None or looked.user is None or not looked.user.rows:
        return GUEST
    return _signed_in(claimed, claimed.user, looked.user.rows[0], now)


async def _verify(user: UserClaim, secret: SigningSecret, now: datetime) -> None:
    try:
        tokens.verify(user.token, await secret(user.realm), now.astimezone(UTC).timestamp(), tokens.UserClaims)
    except tokens.TokenInvalid:
        raise JwtInvalid from None


def _is_successor(user: UserClaim, row: Mapping[str, Any]) -> bool:
    """Return True if the row belongs to a later user with the id of the user that a token stands for.

    Old tokens do not hold the position of the user's creation. They are valid with their session, which ended with its
    user.
    """
    if not user.token or (user.session_id and not user.incarnation):
        return False
    return bool(user.incarnation != row["sequence"])


def _signed_in(claimed: CredentialClaim, user: UserClaim, row: Mapping[str, Any], now: datetime) -> Caller:
    if _is_successor(user, row):
        return GUEST
    if user.digest or user.session_id:
        over = row["session_id"] is None or row["expires_at"] <= now
        if over or (user.digest and not hmac.compare_digest(row["digest"], user.digest)):
            return GUEST
    if not row["enabled"]:
        raise UserBlocked
    name, user_id, console = row["email"] or "User", row["user_id"], user.realm == CONSOLE
    parent = tokens.Parent("admin", user_id, row["session_id"]) if console and user.digest else None
    if claimed.admin:
        return Caller(
            word="owner",
            scopes=ADMIN_SCOPES,
            name=name,
            actor=f"admin:{user_id}",
            parent=parent,
            expires_at=row["expires_at"],
        )
    return Caller(
        word="users",
        scopes=CONSOLE_SCOPES if console else USER_SCOPES,
        name=name,
        actor=f"{'admin' if console else 'user'}:{user_id}",
        user_id=user_id,
        session_id=row["session_id"] or "",
        incarnation=row["sequence"],
        by_token=bool(user.token),
        verified=row["verified"],
        labels=tuple(row["labels"]),
        memberships=tuple(CallerMembership(member, team, tuple(roles)) for member, team, roles in row["memberships"]),
        parent=parent,
        expires_at=row["expires_at"],
    )


def _standard(claimed: CredentialClaim, row: Mapping[str, Any], host: str, now: datetime) -> Caller:
    if row["key_id"] is None:
        raise UserUnauthorized(hint=KEY_UNKNOWN)
    if row["expires_at"] is not None and row["expires_at"] <= now:
        raise KeyExpired
    key = _key(claimed.project, host, f"key:{row['key_id']}", frozenset(row["scopes"]))
    parent = tokens.Parent("key", row["key_id"])
    return msgspec.structs.replace(key, parent=parent, expires_at=row["expires_at"])


def _ephemeral(claimed: CredentialClaim, parent: ReadResult | None, secret: bytes, host: str, now: datetime) -> Caller:
    """Return the caller of a key that depends on another credential: it ends with its parent and has no scope beyond
    it."""
    try:
        claims = tokens.verify(claimed.handed_out, secret, now.astimezone(UTC).timestamp(), tokens.Claims)
    except tokens.TokenInvalid:
        return GUEST
    if not hmac.compare_digest(claims.project_id.encode(), claimed.project.encode()):
        return GUEST
    if parent is None or not parent.rows or not _holds(claims.parent, parent.rows[0], now):
        return GUEST
    scopes = frozenset(claims.scopes)
    if claims.parent.kind != "admin":
        scopes &= frozenset(parent.rows[0]["scopes"]) | KEY_SCOPES
    key = _key(claimed.project, host, claims.actor, scopes)
    return msgspec.structs.replace(key, depth=claims.depth) if claims.depth else key


def _holds(parent: tokens.Parent, row: Mapping[str, Any], now: datetime) -> bool:
    """Return False if the parent of an ephemeral key was replaced, closed or blocked, or has expired."""
    if parent.kind == "function":
        return str(row["sequence"]) == parent.instance
    if parent.kind == "admin":
        return bool(row["enabled"] and row["session_id"] and row["expires_at"] > now)
    return row["expires_at"] is None or bool(row["expires_at"] > now)


def _key(project: str, host: str, actor: str, scopes: frozenset[str]) -> Caller:
    name = f"app.{project}@service.{host}"
    return Caller(word="applications", scopes=scopes | KEY_SCOPES, name=name, actor=actor)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
