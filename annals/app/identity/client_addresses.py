"""The address of a client: behind trusted reverse proxies, and the network that counts as one client.

Headers of proxies that are not trusted are ignored.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from annals.addresses import parse_networks

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_networks = lru_cache(parse_networks)
_SUBNET = 64
_SCHEMES = frozenset({"http", "https"})


def with_client_address(scope: Mapping[str, Any], trusted: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the request as the outermost trusted proxy received it: with its client's address and scheme.

    Addresses are read from the last one backwards, as long as trusted proxies wrote them. The client may have sent
    anything before those.
    """
    client = scope.get("client")
    if not trusted or not client or not _is_trusted(_address(client[0]), trusted):
        return scope
    address, scheme = str(client[0]), scope["scheme"]
    for text in reversed(list(_listed(scope, b"x-forwarded-for"))):
        hop = _address(text)
        if hop is None:
            break
        address = str(hop)
        if not _is_trusted(hop, trusted):
            break
    for text in _listed(scope, b"x-forwarded-proto"):
        scheme = text if text in _SCHEMES else scheme
    return {**scope, "client": (address, 0), "scheme": scheme}


def _listed(scope: Mapping[str, Any], header: bytes) -> Iterator[str]:
    for name, value in scope["headers"]:
        if name == header:
            yield from (part.strip().lower() for part in value.decode("latin-1").split(","))


def _address(text: str) -> _Address | None:
    """Return an address given with or without a port. An IPv4 address written as IPv6 is returned as IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_trusted(address: _Address | None, trusted: tuple[str, ...]) -> bool:
    return address is not None and any(address in network for network in _networks(trusted))


def network_of(address: str) -> str:
    """Return an address, or the subnet of an IPv6 address, since its owner may choose any address within it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, ipaddress.IPv6Address):
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, _SUBNET), strict=False))
