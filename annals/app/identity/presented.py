"""Reads the session of a request: from a cookie, a header, or the fallback for browsers that keep no cookies."""

from base64 import b64encode, urlsafe_b64decode
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from annals.app.identity.secret_keys import digest
from annals.app.parameters.kinds import is_uid
from annals.domain.decoding import UNREADABLE

_MOST_CHARACTERS = 4096


class Presented(NamedTuple):
    """The claimed user id, and the digest of a session's secret."""

    user_id: str
    digest: str


class _Session(msgspec.Struct):
    id: str
    secret: str


def as_text(user_id: str, secret: str) -> str:
    """Return the text that clients send: base64 of JSON."""
    return b64encode(msgspec.json.encode(_Session(user_id, secret))).decode("ascii")


def cookie_names(realm: str) -> tuple[str, str]:
    """Return the names of a realm's session cookie, and of the one for browsers that drop SameSite=None."""
    return f"a_session_{realm}", f"a_session_{realm}_legacy"


def has_cookie(headers: Mapping[bytes, bytes], realm: str) -> bool:
    return bool(_from_cookie(headers, realm))


def presented(headers: Mapping[bytes, bytes], realm: str) -> Presented | None:
    """Return the session that a request claims, or None. A cookie comes before the header, and that before the
    fallback."""
    for text in (_from_cookie(headers, realm), _text(headers, b"x-appwrite-session"), _from_fallback(headers, realm)):
        if text and (found := _read(text)) is not None:
            return found
    return None


def _read(text: str) -> Presented | None:
    """Read standard or URL-safe base64, with or without padding and percent encoding."""
    if len(text) > _MOST_CHARACTERS:
        return None
    plain = unquote(text).strip().rstrip("=").replace("+", "-").replace("/", "_")
    try:
        session = msgspec.json.decode(urlsafe_b64decode(plain + "=" * (-len(plain) % 4)), type=_Session)
    except UNREADABLE:
        return None
    return Presented(session.id, digest(session.secret)) if is_uid(session.id) else None


def _from_cookie(headers: Mapping[bytes, bytes], realm: str) -> str:
    found: dict[str, str] = {}
    for pair in _text(headers, b"cookie").split(";"):
        name, is_pair, value = pair.strip().partition("=")
        if is_pair:
            found.setdefault(name, value)
    return next((value for name in cookie_names(realm) if (value := found.get(name, ""))), "")


def _from_fallback(headers: Mapping[bytes, bytes], realm: str) -> str:
    try:
        found = msgspec.json.decode(headers.get(b"x-fallback-cookies", b""), type=dict[str, str])
    except UNREADABLE:
        return ""
    return next((value for name in cookie_names(realm) if (value := found.get(name, ""))), "")


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("utf-8", "replace")
