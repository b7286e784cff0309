"""CORS: the origins that may call, and the headers that allow their pages to read answers."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from annals.app.edge.answers import Answer, Header

_METHODS = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
_ACCEPTED = (
    *("Origin", "Cookie", "Set-Cookie", "X-Requested-With", "Content-Type", "Accept", "Range", "Content-Range"),
    *("Cache-Control", "Expires", "Pragma", "Idempotency-Key", "Last-Event-ID", "X-Request-Id"),
    *("X-Appwrite-Project", "X-Appwrite-Key", "X-Appwrite-Locale", "X-Appwrite-Mode", "X-Appwrite-JWT"),
    *("X-Appwrite-Response-Format", "X-Appwrite-Timeout", "X-Appwrite-Id", "X-Appwrite-Timestamp"),
    *("X-Appwrite-Session", "X-Fallback-Cookies", "X-Forwarded-For", "X-Forwarded-User-Agent"),
    *("X-SDK-Version", "X-SDK-Name", "X-SDK-Language", "X-SDK-Platform", "X-SDK-GraphQL"),
)
_EXPOSED = (
    *(
        "X-Fallback-Cookies",
        "Idempotent-Replayed",
        "X-Appwrite-Warning",
        "X-Annals-Position",
        "X-Annals-Hint",
        "X-Request-Id",
    ),
    *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Content-Range", "Content-Disposition"),
)
_ANYWHERE: list[Header] = [(b"access-control-allow-origin", b"*")]
_READABLE_HEADERS: list[Header] = [
    (b"access-control-expose-headers", ", ".join(_EXPOSED).encode()),
    (b"vary", b"Origin"),
]
_ALLOW_CREDENTIALS: Header = (b"access-control-allow-credentials", b"true")
_PREFLIGHT: list[Header] = [
    (b"access-control-allow-methods", _METHODS.encode()),
    (b"access-control-allow-headers", ", ".join(_ACCEPTED).encode()),
    (b"access-control-max-age", b"3600"),
    (b"content-type", b"text/html"),
]


def headers(origin: bytes | None, *, known: bool) -> list[Header]:
    """Return the headers of an answer to a page of `origin`, None for a client that is no browser.

    Any page may read public answers. Only a `known` page may read answers that depend on a session's cookie. A
    preflight allows all pages to call, since it names no project.
    """
    if not origin:
        return _ANYWHERE
    allowed: list[Header] = [(b"access-control-allow-origin", origin), *_READABLE_HEADERS]
    return [*allowed, _ALLOW_CREDENTIALS] if known else allowed


def preflight() -> Answer:
    """Return the answer to OPTIONS, on any path."""
    return Answer(204, b"", list(_PREFLIGHT))


def host_of(origin: str) -> str:
    """Return the host name of an `Origin` header, empty for `null` and for an invalid one."""
    try:
        return (urlsplit(origin).hostname or "").lower()
    except ValueError:
        return ""


def is_known(origin: str, own: Iterable[str], platforms: Iterable[str]) -> bool:
    """Return True if an origin has one of the host names. A pattern `*.` matches all names below it, `*` matches
    all."""
    host = host_of(origin)
    if not host:
        return False
    return host in own or any(_matches(host, pattern.lower()) for pattern in platforms)


def _matches(host: str, pattern: str) -> bool:
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return host == pattern
