"""The origins from which browsers may call: the instance itself, and the platforms of a project."""

from collections.abc import Iterable
from urllib.parse import urlsplit


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
