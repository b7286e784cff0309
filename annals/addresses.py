"""Network addresses as settings spell them: DNS resolvers, and the networks of trusted proxies."""

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

DNS_PORT = 53
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class NameServer(NamedTuple):
    """The address of a DNS resolver."""

    host: str
    port: int = DNS_PORT


def parse_name_servers(texts: Sequence[str]) -> list[NameServer]:
    """Return resolvers from texts like `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` and `[2001:db8::1]:5353`.

    Raises ValueError, which names the invalid one.
    """
    return [_name_server(text) for text in texts]


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return networks from addresses and networks. Raises ValueError, which names the invalid one."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def _name_server(text: str) -> NameServer:
    host, port = text, str(DNS_PORT)
    if text.startswith("["):
        host, end, behind = text[1:].partition("]")
        if end + behind != "]":
            port = behind.removeprefix(":") if behind.startswith(":") else "none"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} has no port from 1 to 65535")
    return NameServer(str(ipaddress.ip_address(host)), int(port))
