"""The session's cookies, and the header that replaces them in browsers that block cookies of other sites."""

from datetime import datetime

from annals.app.edge.answers import Header
from annals.app.edge.call import Call
from annals.app.identity.presented import cookie_names
from annals.app.wire import encode

_OVER = "Thu, 01 Jan 1970 00:00:00 GMT"


def opened(call: Call, presented: str, expires: datetime) -> list[Header]:
    """Return the headers of an answer that opens a session."""
    when = expires.strftime("%a, %d %b %Y %H:%M:%S GMT")
    return [*_cookies(call, presented, when), _fallback({cookie_names(call.realm)[0]: presented})]


def closed(call: Call) -> list[Header]:
    """Return the headers of an answer that closes the caller's session."""
    return [*_cookies(call, "", _OVER), _fallback({})]


def _cookies(call: Call, value: str, expires: str) -> list[Header]:
    """Return both cookies. SameSite=None is sent from pages of other sites and needs HTTPS; the other is for old
    browsers."""
    secure = call.scope["scheme"] == "https" or call.services.settings.endpoint.startswith("https:")
    common = f"{value}; path=/; expires={expires}; HttpOnly"
    name, legacy = cookie_names(call.realm)
    texts = [
        f"{name}={common}; {'Secure; SameSite=None' if secure else 'SameSite=Lax'}",
        f"{legacy}={common}{'; Secure' if secure else ''}",
    ]
    return [(b"set-cookie", text.encode("ascii")) for text in texts]


def _fallback(cookies: dict[str, str]) -> Header:
    return (b"x-fallback-cookies", encode(cookies))
