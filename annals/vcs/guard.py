"""Keeps the fetching process to what it is for: it connects to public addresses alone, and starts no program.

An audit hook sees every connection of the interpreter, whoever makes it and whatever a name resolved to a moment ago;
it cannot be taken away again.
"""

import ipaddress
import socket
import sys
from collections.abc import Iterable
from typing import Any

from annals.vcs.errors import RepositoryError

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PROGRAMS = frozenset(
    ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork", "os.forkpty", "pty.spawn")
)
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet's, also when an IPv6 one only wraps it."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def addresses_of(hosts: Iterable[str]) -> frozenset[Address]:
    """What names resolve to now; one that resolves to nothing adds nothing."""
    found = set()
    for host in hosts:
        try:
            rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            continue
        found |= {ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in rows}
    return frozenset(found)


class Guard:
    """An audit hook; `allowed` are addresses that are right though they are internal."""

    def __init__(self, allowed: frozenset[Address], *, anywhere: bool = False) -> None:
        self._allowed, self._anywhere = allowed, anywhere

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _PROGRAMS:
            raise RepositoryError("forbidden", "Fetching a repository starts no program.")
        if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
            self._judge(args[-1])

    def _judge(self, where: Any) -> None:
        if where is None:  # sendmsg of a socket that is connected already
            return
        if not isinstance(where, tuple):
            raise RepositoryError("forbidden", "A repository is not reached over a local socket.")
        try:
            address = ipaddress.ip_address(str(where[0]).partition("%")[0])
        except ValueError:
            raise RepositoryError(
                "forbidden", "A repository is reached by an address that was looked up before."
            ) from None
        if not (self._anywhere or address in self._allowed or is_public(address)):
            raise RepositoryError(
                "forbidden",
                "The repository's host has an internal address. If that is meant, let the operator name the host"
                " in ANNALS_GIT_ALLOWED_HOSTS.",
            )


def install(hosts: Iterable[str]) -> None:
    """Guard this process for good. `hosts` may be internal; `*` allows any."""
    named = list(hosts)
    sys.addaudithook(Guard(addresses_of(host for host in named if host != "*"), anywhere="*" in named))
