"""What containers reach through their bridge: the internet and the API, not this host, nor its cloud's metadata.

Docker separates containers and bridges from each other; an nftables table of our own closes the rest. Executors of one
host share bridge and table: each adds its API's port to those that are open, and its services to those that are closed.
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
    """Why this process cannot close a bridge, as a sentence; empty when it can."""
    if os.geteuid() != 0:
        return "Only root can close the host to containers."
    if not shutil.which("nft"):
        return "Closing the host to containers needs nft: install the package nftables."
    if not (interfaces / bridge).exists():
        return "The engine's network is not this process's: its host must close itself to containers."
    return ""


def close(bridge: str, allow: Iterable[int], closed: Iterable[tuple[str, int]]) -> None:
    """Lay the rules, in one step. Blocking. Raises StartFailed."""
    command = ["nft", "-f", "-"]
    done = subprocess.run(
        command, input=rules(bridge, allow, resolved(closed)), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StartFailed(f"The host could not be closed to containers: {done.stderr.strip()[:300]}")


def rules(bridge: str, allow: Iterable[int], closed: Iterable[tuple[str, int]]) -> str:
    """The table, written so that laying it again changes nothing; earlier executors' ports and services stay."""
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
