"""Which DNS resolvers are asked: those that a setting names, or those of the host."""

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PORT = 53


class NameServer(NamedTuple):
    host: str
    port: int = PORT


def named_servers(texts: Sequence[str]) -> list[NameServer]:
    """Resolvers as a setting names them: `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1`, `[2001:db8::1]:5353`.

    Raises ValueError, which names the one that is none.
    """
    return [_server(text) for text in texts]


def system_servers(path: Path = Path("/etc/resolv.conf")) -> list[NameServer]:
    """The resolvers that this host uses."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    found = [words[1] for line in lines if len(words := line.split()) > 1 and words[0] == "nameserver"]
    return [NameServer(host) for host in found] or [NameServer("127.0.0.1")]


def _server(text: str) -> NameServer:
    host, port = text, str(PORT)
    if text.startswith("["):
        host, end, behind = text[1:].partition("]")
        if end + behind != "]":
            port = behind.removeprefix(":") if behind.startswith(":") else "none"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} has no port from 1 to 65535")
    return NameServer(str(ipaddress.ip_address(host)), int(port))
