"""From which pages browsers may call: those of the instance itself, and of a project's platforms."""

from collections.abc import Iterable
from urllib.parse import urlsplit


def host_of(origin: str) -> str:
    """The host name of an `Origin` header, empty for `null` and for what is none."""
    try:
        return (urlsplit(origin).hostname or "").lower()
    except ValueError:
        return ""


def is_known(origin: str, own: Iterable[str], platforms: Iterable[str]) -> bool:
    """Whether a page's origin is one of the host names; `*.` in front of one stands for all below it, `*` for all."""
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
