"""Signed tokens (JWT, HS256): ephemeral keys for the code of a call, and tokens that stand for a user."""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from annals.domain.decoding import UNREADABLE

EPHEMERAL_KEYS = "ephemeral-keys"
"""The purpose of the signing secret of ephemeral keys: `vault.derive(project, EPHEMERAL_KEYS)`."""

USER_TOKENS = "user-tokens"
"""The purpose of the signing secret of users' tokens."""

_HEADER = urlsafe_b64encode(b'{"typ":"JWT","alg":"HS256"}').rstrip(b"=")
_MOST_BYTES = 8192


class TokenInvalid(ValueError):
    """A token is malformed, signed by another secret, or expired."""


class Parent(NamedTuple):
    """The credential that an ephemeral key depends on: the key holds only as long as its parent does.

    `instance` tells the parent from others under its id: an admin's session, or the position of a function's creation.
    """

    kind: Literal["key", "admin", "function"]
    id: str
    instance: str = ""

    @classmethod
    def of_function(cls, function_id: str, incarnation: int) -> "Parent":
        return cls("function", function_id, str(incarnation))


class Claims(msgspec.Struct, rename="camel", kw_only=True):
    """The contents of an ephemeral key; `exp` in seconds since 1970.

    `child` names the key itself in events: `ephemeral:<id>`, or the `execution:<id>` or `deployment:<id>` that it was
    made for. `depth` counts the triggers that led to the code: its requests may trigger further functions.
    """

    project_id: str
    scopes: list[str]
    exp: float
    parent: Parent
    child: str
    depth: int = 0

    @property
    def actor(self) -> str:
        """The key as an event's actor: its parent first, so that a search for the parent finds it."""
        return f"{self.parent.kind}:{self.parent.id}/{self.child}"


class UserClaims(msgspec.Struct, rename="camel", kw_only=True):
    """The contents of a user's token. It holds as long as its session, or until `exp` without a session.

    `incarnation` is the position of the user's creation: a later user with the same id has another one.
    """

    user_id: str
    session_id: str = ""
    incarnation: int = 0
    exp: float


class Expiring(Protocol):
    """Claims of any kind; `exp` in seconds since 1970."""

    exp: float


T = TypeVar("T", bound=Expiring)


class _Header(msgspec.Struct):
    alg: Literal["HS256"]


def sign(claims: Expiring, secret: bytes) -> str:
    """Return the claims as a compact JWT."""
    signed = _HEADER + b"." + urlsafe_b64encode(msgspec.json.encode(claims)).rstrip(b"=")
    return (signed + b"." + _signature(signed, secret)).decode("ascii")


def peek(token: str, kind: type[T]) -> T:
    """Return a token's unverified claims, for a look-up. Raises TokenInvalid if malformed."""
    try:
        if len(token) > _MOST_BYTES:
            raise ValueError("The token is too long.")
        _, payload, _ = token.encode("ascii").split(b".")
        return msgspec.json.decode(_decode(payload), type=kind)
    except UNREADABLE as error:
        raise TokenInvalid("The token is malformed.") from error


def verify(token: str, secret: bytes, now: float, kind: type[T]) -> T:
    """Return the claims of a token that this secret signed and that is valid at `now`. Raises TokenInvalid."""
    try:
        raw = token.encode("ascii")
        signed, signature = raw.rsplit(b".", 1)
        header, payload = signed.split(b".")
        if len(raw) > _MOST_BYTES or not hmac.compare_digest(signature, _signature(signed, secret)):
            raise ValueError("The signature does not fit.")
        msgspec.json.decode(_decode(header), type=_Header)
        claims = msgspec.json.decode(_decode(payload), type=kind)
    except UNREADABLE as error:
        raise TokenInvalid("The token is malformed, or was not signed here.") from error
    if claims.exp <= now:
        raise TokenInvalid("The token has expired.")
    return claims


def user_token(user_id: str, session_id: str, *, incarnation: int, expires: float, secret: bytes) -> str:
    """Return a token for a user until `expires`; an empty `session_id` binds it to no session."""
    claims = UserClaims(user_id=user_id, session_id=session_id, incarnation=incarnation, exp=int(expires))
    return sign(claims, secret)


def ephemeral_key(claims: Claims, secret: bytes, *, prefix: str = "dynamic") -> str:
    """Return a key for a project that holds until it or its parent ends; `prefix` depends on the API version."""
    return f"{prefix}_{sign(claims, secret)}"


def _signature(signed: bytes, secret: bytes) -> bytes:
    return urlsafe_b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).rstrip(b"=")


def _decode(text: bytes) -> Any:
    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))
