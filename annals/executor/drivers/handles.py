"""Handles that sandboxes are born with: their entrance, files in memory, a terminal."""

import os
import socket
import termios
from pathlib import Path

BACKLOG = 512


def listening_socket(folder: Path, name: str) -> socket.socket:
    """A listening socket that the sandbox is handed: it has no name in there, and no folder to write to is needed."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{handle}/{name}")
    finally:
        os.close(handle)
    listener.listen(BACKLOG)
    return listener


def memory(name: str, content: bytes) -> int:
    """A file that exists in memory only, ready to be read from its start."""
    fd = os.memfd_create(name)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def terminal() -> tuple[int, int]:
    """A pseudo-terminal that passes text through unchanged: what runs under it prints as it would for a person."""
    read, write = os.openpty()
    attributes = termios.tcgetattr(write)
    attributes[1] &= ~termios.OPOST
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(write, termios.TCSANOW, attributes)
    return read, write
