"""Listening sockets. The supervisor holds the API's, so that clients wait while an API process restarts."""

import errno
import socket

BACKLOG = 1024


class Unavailable(Exception):
    """The address cannot be used. The message says what to do."""


def listen(host: str, port: int, *, shared: bool = False, options: str = "--host and --port") -> socket.socket:
    """Return a listening socket, which processes may inherit. Port 0 takes a free port. Raises Unavailable.

    Several processes may listen on a `shared` address, each with a socket of its own. `options` choose the address:
    errors name them.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise Unavailable(
            f"{host} is no address of this machine ({error.strerror}). Choose another with {options}."
        ) from None
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise Unavailable(_sentence(error, host, port, options)) from None
    listening.setblocking(False)
    return listening


def _sentence(error: OSError, host: str, port: int, options: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken. Choose another with {options}; port 0 takes a free one."
    if error.errno == errno.EACCES:
        return f"Port {port} needs more rights. Choose one above 1023 with {options}."
    return f"Can't listen on {host}:{port}: {error.strerror}. Choose another address with {options}."
