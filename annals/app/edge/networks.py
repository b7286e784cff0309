"""Networks that count as one client when requests are counted by address."""

from ipaddress import IPv6Address, ip_address, ip_network

_SUBNET = 64


def network_of(address: str) -> str:
    """Return an address, or the subnet of an IPv6 address, since its owner may choose any address within it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return str(parsed.ipv4_mapped or ip_network((parsed, _SUBNET), strict=False))
