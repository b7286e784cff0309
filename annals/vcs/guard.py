"""Limits the fetching process: it connects to public addresses only, follows no foreign redirect, starts no program.

An audit hook sees every connection of the interpreter, with the address that is really used. It cannot be removed.
"""

import ipaddress
import socket
import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import urllib3

from annals.vcs.errors import RepositoryError

WAIT_SECONDS = 30.0
_TIMEOUT = urllib3.Timeout(connect=10.0, read=WAIT_SECONDS)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PROGRAMS = frozenset(
    ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork", "os.forkpty", "pty.spawn")
)
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: Address) -> bool:
    """Return True for an address of the public internet; an IPv6 address that wraps an IPv4 address counts as that."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def addresses_of(hosts: Iterable[str]) -> frozenset[Address]:
    """Return the addresses that host names resolve to now. An unknown name adds none."""
    found = set()
    for host in hosts:
        try:
            rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            continue
        found |= {ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in rows}
    return frozenset(found)


class Guard:
    """An audit hook; `allowed` are internal addresses that the process may connect to."""

    def __init__(self, allowed: frozenset[Address], *, anywhere: bool = False) -> None:
        self._allowed, self._anywhere = allowed, anywhere

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _PROGRAMS:
            raise RepositoryError("forbidden", "A fetch may not start a program.")
        if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
            self._check(args[-1])

    def _check(self, address: Any) -> None:
        if address is None:  # sendmsg of a connected socket
            return
        if not isinstance(address, tuple):
            raise RepositoryError("forbidden", "A fetch may not connect to a local socket.")
        try:
            resolved = ipaddress.ip_address(str(address[0]).partition("%")[0])
        except ValueError:
            raise RepositoryError("forbidden", "A fetch connects to resolved addresses only.") from None
        if not (self._anywhere or resolved in self._allowed or is_public(resolved)):
            raise RepositoryError(
                "forbidden",
                "The repository's host has an internal address. To allow it, the operator adds the host to"
                " ANNALS_GIT_ALLOWED_HOSTS.",
            )


def install(hosts: Iterable[str]) -> None:
    """Guard this process until it ends. `hosts` may be internal; `*` allows every host."""
    named = list(hosts)
    sys.addaudithook(Guard(addresses_of(host for host in named if host != "*"), anywhere="*" in named))


class OneHost(urllib3.PoolManager):
    """Connects to the named hosts only, each `host` or `host:port` as in URLs."""

    def __init__(self, *hosts: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(timeout=_TIMEOUT, retries=urllib3.Retry(0, redirect=3), headers=headers)
        self._hosts = frozenset(hosts)

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> Any:  # type: ignore[override]
        """Send a request. Raises RepositoryError for a redirect to another host."""
        if urlsplit(url).netloc not in self._hosts:
            raise RepositoryError(
                "forbidden", "The repository's host redirects to another host. Use the URL of that host."
            )
        return super().urlopen(method, url, redirect, **kw)
