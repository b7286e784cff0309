"""Firewall rules for the containers' bridge: they reach the internet and the API, but not the host or cloud metadata.

Docker separates containers and bridges from each other; our own nftables table blocks the rest. All executors of a
host share bridge and table: each adds its API's port to the open ports, and its services to the closed ones.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from annals.executor.errors import StartFailed
from annals.executor.isolation.network import CLOSED, METADATA_DNS, resolved, services

INTERFACES = Path("/sys/class/net")


def unclosable(bridge: str, interfaces: Path = INTERFACES) -> str:
    """Return why this process cannot install the rules, as a sentence; empty if it can."""
    if os.geteuid() != 0:
        return "Only root can close the host to containers."
    if not shutil.which("nft"):
        return "Closing the host to containers needs nft: install the package nftables."
    if not (interfaces / bridge).exists():
        return "The engine runs in another network: its host must block containers itself."
    return ""


def close(bridge: str, allow: Iterable[int], closed: Iterable[tuple[str, int]]) -> None:
    """Install the rules in one transaction. Blocking. Raises StartFailed."""
    command = ["nft", "-f", "-"]
    done = subprocess.run(
        command, input=rules(bridge, allow, resolved(closed)), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StartFailed(f"The host could not be closed to containers: {done.stderr.strip()[:300]}")


def rules(bridge: str, allow: Iterable[int], closed: Iterable[tuple[str, int]]) -> str:
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
