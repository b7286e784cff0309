"""A machine beyond this host that answers at the addresses of cloud metadata, and at a public address.

Without it nothing would answer there, and a host that closes nothing would look as closed as one that does.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

METADATA = ("169.254.169.254", "169.254.170.2")
OPEN = "198.51.100.2"  # of a network that is kept for examples (RFC 5737)
NEAR = "198.51.100.1"
PORT, SECOND = 80, 81
TARGETS = ((OPEN, PORT), (OPEN, SECOND), *((address, PORT) for address in METADATA))
"""A public address, one that an executor can be configured to close, and those that are always closed."""
GREETING = "GREETED"

SERVE = """
import ctypes, selectors, socket
ctypes.CDLL(None).prctl(1, 9)  # it ends with who started it, however that ends
services = selectors.DefaultSelector()
for port in (80, 81):
    services.register(socket.create_server(("0.0.0.0", port)), selectors.EVENT_READ)
print("READY", flush=True)
while True:
    for key, _ in services.select():
        peer, _ = key.fileobj.accept()
        peer.sendall(b"GREETED\\n")
        peer.close()
"""


def impossible() -> str:
    """Return the reason why this host cannot have such a machine, or an empty string."""
    return "" if os.geteuid() == 0 else "Only root can lay a way to another machine."


@contextmanager
def laid() -> Iterator[None]:
    """Create a network namespace to which this host routes all of the addresses."""
    server = subprocess.Popen(["unshare", "--net", sys.executable, "-c", SERVE], stdout=subprocess.PIPE)
    here = f"cloud{server.pid}"
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"READY\n"
        inside = f"/proc/{server.pid}/ns/net"
        _ip(f"link add {here} type veth peer name cloud netns {inside}", f"address add {NEAR}/30 dev {here}")
        _ip(f"link set {here} up")
        held = [f"address add {address}/32 dev lo" for address in METADATA]
        ways = ("link set cloud up", f"route add default via {NEAR}")
        _ip("link set lo up", f"address add {OPEN}/30 dev cloud", *held, *ways, inside=inside)
        _ip(*(f"route add {address}/32 via {OPEN} dev {here}" for address in METADATA))
        for address in (OPEN, *METADATA):
            with socket.create_connection((address, PORT), 60) as peer:
                assert peer.recv(99) == f"{GREETING}\n".encode()
        yield
    finally:
        subprocess.run(["ip", "link", "delete", here], capture_output=True, check=False)
        server.kill()
        server.communicate()


def _ip(*orders: str, inside: str = "/proc/self/ns/net") -> None:
    words = ["nsenter", f"--net={inside}", "ip", "-batch", "-"]
    subprocess.run(words, input="".join(f"{order}\n" for order in orders), text=True, check=True)
