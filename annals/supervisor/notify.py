"""Tell who supervises this process how it is: the `sd_notify` protocol, which systemd understands as well."""

import os
import socket


def notify(**told: str) -> None:
    """Send assignments such as `READY="1"` or `STATUS="leads"`; without a supervisor nothing happens.

    One that stands still and has not read what it was told before is not waited for: what matters is told again.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    text = "\n".join(f"{name}={value}" for name, value in {**told, "MAINPID": str(os.getpid())}.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as connection:
        try:
            connection.connect("\0" + address[1:] if address.startswith("@") else address)
            connection.send(text.encode())
        except OSError:  # the supervisor stands still, or is going away and this process with it
            return
