"""Isolated networks for sandboxes; needs root. Each sandbox has its own namespace and reaches only the internet.

A bridge connects the host's ends of the veth pairs; its ports are isolated from each other. One nftables table filters
the traffic. Namespaces are created in advance and reused: creating one takes longer than starting a sandbox.

Containers of the docker driver have the engine's bridge: they reach the internet and the API, but not the host or cloud
metadata. Docker separates containers and bridges from each other; our own nftables table blocks the rest. All executors
of a host share that bridge and table: each adds its API's port to the open ports, its services to the closed ones.
"""

import asyncio
import contextlib
import hashlib
import ipaddress
import itertools
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from annals.executor.errors import StartFailed
from annals.executor.isolation import kernel

SPARE = 2
HOSTS = 1000
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
CLOSED = "0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/4, 240.0.0.0/4"
"""Addresses that sandboxes never reach: clouds serve metadata and credentials at link-local addresses."""
METADATA_DNS = "ip daddr 169.254.0.0/16 meta l4proto { tcp, udp } th dport 53 accept"
"""Some clouds run their name servers at such an address too; names are no secret."""


class Namespace(NamedTuple):
    """The descriptor of a network namespace, and its address on the bridge."""

    handle: int
    address: str


class Networks:
    """The namespaces of one executor. Sandboxes may call the host's ports in `allow`: the API's.

    They may not call the other hosts' ports in `closed`: the control plane's own services.
    """

    def __init__(self, work: Path, allow: tuple[int, ...] = (), closed: tuple[tuple[str, int], ...] = ()) -> None:
        digest = hashlib.sha256(os.fsencode(work)).hexdigest()
        self._name = f"an{digest[:8]}"
        self.subnet = _subnet(digest)
        self._allow = allow
        self._closed = closed
        self._numbers = itertools.count(2)
        self._spare: list[Namespace] = []
        self._making = asyncio.Lock()

    async def open(self) -> None:
        """Create the bridge and the rules. Raises StartFailed."""
        if problem := unusable():
            raise StartFailed(problem)
        await asyncio.to_thread(self._create)

    def _create(self) -> None:
        self._remove()
        gateway = f"{next(self.subnet.hosts())}/{self.subnet.prefixlen}"
        _run("ip", "link", "add", self._name, "type", "bridge")
        _run("ip", "address", "add", gateway, "dev", self._name)
        _run("ip", "link", "set", self._name, "up")
        _run("nft", "-f", "-", stdin=rules(self._name, str(self.subnet), self._allow, resolved(self._closed)))
        if FORWARDING.read_text().strip() == "0":
            FORWARDING.write_text("1")
        _admit(self._name)

    def _remove(self) -> None:
        """Remove the bridge and the rules, also those of an earlier process. Ports vanish with their namespaces."""
        for command in (("ip", "link", "del", self._name), ("nft", "delete", "table", "inet", self._name)):
            subprocess.run(command, capture_output=True, check=False)
        for side in ("-i", "-o"):
            _docker("-D", side, self._name, "-j", "ACCEPT")

    async def close(self) -> None:
        for namespace in self._spare:
            os.close(namespace.handle)
        self._spare.clear()
        await asyncio.to_thread(self._remove)

    async def take(self) -> Namespace:
        """Return an unused namespace; give it back with `give_back`. Raises StartFailed."""
        async with self._making:
            if not self._spare:
                self._spare += [await asyncio.to_thread(self._make) for _ in range(SPARE)]
            return self._spare.pop()

    def give_back(self, namespace: Namespace) -> None:
        """Reuse a namespace whose processes have all ended: they had no right to change it."""
        self._spare.append(namespace)

    def _make(self) -> Namespace:
        number = next(self._numbers)
        if number > HOSTS:
            raise StartFailed("No address is left for one more isolated sandbox.")
        host, inside = f"{self._name[:10]}{number:04d}", "eth0"
        address, gateway = str(self.subnet[number]), str(self.subnet[1])
        handle = _fresh_namespace()
        namespace = f"/proc/{os.getpid()}/fd/{handle}"
        try:
            _run("ip", "link", "add", host, "type", "veth", "peer", "name", inside, "netns", namespace)
            _run("ip", "link", "set", host, "master", self._name, "up")
            _run("bridge", "link", "set", "dev", host, "isolated", "on")
            orders = (
                "link set lo up",
                f"address add {address}/{self.subnet.prefixlen} dev {inside}",
                f"link set {inside} up",
                f"route add default via {gateway}",
            )
            _run("nsenter", f"--net={namespace}", "ip", "-batch", "-", stdin="\n".join(orders) + "\n")
        except StartFailed:
            os.close(handle)
            raise
        return Namespace(handle, address)


def _fresh_namespace() -> int:
    """Return the descriptor of a new, empty network namespace; the calling thread then returns to its own."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        kernel.unshare(kernel.CLONE_NEWNET)
        try:
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            kernel.setns(own, kernel.CLONE_NEWNET)
    finally:
        os.close(own)


def _subnet(digest: str) -> ipaddress.IPv4Network:
    """Return this executor's part of the shared address space (RFC 6598); the work folder determines it."""
    return ipaddress.ip_network((0x64400000 + ((int(digest[:8], 16) % 4096) << 10), 22))  # type: ignore[return-value]


def resolved(closed: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Return the IPv4 addresses and ports of hosts; hosts without an address are skipped. Blocking."""
    found: set[tuple[str, int]] = set()
    for host, port in closed:
        with contextlib.suppress(OSError):
            answers = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
            found |= {(str(answer[4][0]), int(answer[4][1])) for answer in answers}
    return tuple(sorted(found))


def services(closed: Iterable[tuple[str, int]]) -> str:
    """Return addresses and ports in the syntax of nftables."""
    return ", ".join(f"{address} . {port}" for address, port in closed)


def rules(bridge: str, subnet: str, allow: tuple[int, ...], closed: tuple[tuple[str, int], ...] = ()) -> str:
    """Return the table: to the host only replies and the allowed ports, to other hosts all but the closed ports."""
    ports = f"tcp dport {{ {', '.join(map(str, allow))} }} accept\n" if allow else ""
    own = f'iifname "{bridge}" ip daddr . tcp dport {{ {services(closed)} }} reject\n' if closed else ""
    return f"""table inet {bridge} {{
  chain to_host {{
    type filter hook input priority -5; policy accept;
    iifname != "{bridge}" accept
    ct state established,related accept
    {ports}    reject
  }}
  chain through {{
    type filter hook forward priority -5; policy accept;
    iifname "{bridge}" oifname "{bridge}" drop
    {own}    iifname "{bridge}" {METADATA_DNS}
    iifname "{bridge}" ip daddr {{ {CLOSED} }} reject
    iifname "{bridge}" meta nfproto ipv6 reject
    oifname "{bridge}" ct state established,related accept
    oifname "{bridge}" drop
  }}
  chain out {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr {subnet} oifname != "{bridge}" masquerade
  }}
}}
"""


def _docker(order: str, *words: str) -> bool:
    command = ["iptables", order, "DOCKER-USER", *words]
    return (
        shutil.which("iptables") is not None
        and not subprocess.run(command, capture_output=True, check=False).returncode
    )


def _admit(bridge: str) -> None:
    """Allow our bridge in Docker's own chain: Docker drops forwarded packets of other bridges."""
    for side in ("-i", "-o"):
        rule = (side, bridge, "-j", "ACCEPT")
        if _docker("-L", "-n") and not _docker("-C", *rule):
            _docker("-I", *rule)


def unusable() -> str:
    """Return why sandboxes cannot have isolated networks here, as a sentence; empty if they can."""
    if os.geteuid() != 0:
        return "Isolated networks need root. Run the executor as root, or use the docker driver."
    missing = [tool for tool in ("ip", "bridge", "nft", "nsenter") if not shutil.which(tool)]
    if missing:
        return f"Isolated networks need {', '.join(missing)}: install the packages iproute2, nftables and util-linux."
    return ""


def _run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StartFailed(
            f"An isolated network could not be created: {' '.join(command[:3])}: {done.stderr.strip()[:300]}"
        )
    return done.stdout


INTERFACES = Path("/sys/class/net")
NET_ADMIN = 12
"""The number of the capability to change a network."""


def unclosable(bridge: str, interfaces: Path = INTERFACES) -> str:
    """Return why this process cannot install the rules, as a sentence; empty if it can."""
    if os.geteuid() != 0:
        return "Only root can close the host to containers."
    if not kernel.has_capability(NET_ADMIN):
        return "Closing the host to containers needs the capability NET_ADMIN."
    if not shutil.which("nft"):
        return "Closing the host to containers needs nft: install the package nftables."
    if not (interfaces / bridge).exists():
        return (
            "The engine runs in another network than this process: run the executor in the network of the engine's"
            " host (`network_mode: host`), or block containers there."
        )
    return ""


def close_host(bridge: str, allow: Iterable[int], closed: Iterable[tuple[str, int]]) -> None:
    """Install the rules in one transaction. Blocking. Raises StartFailed."""
    command = ["nft", "-f", "-"]
    done = subprocess.run(
        command, input=engine_rules(bridge, allow, resolved(closed)), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StartFailed(f"The host could not be closed to containers: {done.stderr.strip()[:300]}")


def engine_rules(bridge: str, allow: Iterable[int], closed: Iterable[tuple[str, int]]) -> str:
    """Return the table. Installing it again changes nothing; ports and services of other executors stay."""
    ports = ", ".join(map(str, allow))
    pairs = services(closed)
    return f"""table inet {bridge} {{
  set open {{ type inet_service; }}
  set closed {{ type ipv4_addr . inet_service; }}
  chain to_host {{ type filter hook input priority -5; policy accept; }}
  chain through {{ type filter hook forward priority -5; policy accept; }}
}}
flush chain inet {bridge} to_host
flush chain inet {bridge} through
{f"add element inet {bridge} open {{ {ports} }}" if ports else ""}
{f"add element inet {bridge} closed {{ {pairs} }}" if pairs else ""}
table inet {bridge} {{
  chain to_host {{
    iifname != "{bridge}" accept
    ct state established,related accept
    tcp dport @open accept
    reject
  }}
  chain through {{
    iifname "{bridge}" ip daddr . tcp dport @closed reject
    iifname "{bridge}" {METADATA_DNS}
    iifname "{bridge}" ip daddr {{ {CLOSED} }} reject
    iifname "{bridge}" meta nfproto ipv6 reject
  }}
}}
"""
