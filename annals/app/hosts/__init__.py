"""Requests to host names of functions: they run the function instead of the API."""

import ipaddress

from annals.app.edge.cors import host_of
from annals.settings import Settings


def host_name(host: bytes) -> str:
    """Return the name in a `Host` header, in lower case and without the port."""
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


def is_own(name: str, settings: Settings) -> bool:
    """Return True if a host name always means the API: the instance's own name, or an address."""
    if name in {"", "localhost", host_of(settings.endpoint), settings.host}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
