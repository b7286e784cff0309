"""File descriptors of sandboxes: opens them, passes them to the child, reads them, and closes them on every path."""

import asyncio
import os
import socket
import termios
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

from annals.executor.drivers.port import Sink
from annals.executor.logs.throttle import printed

BACKLOG = 512
READ = 64 * 1024


class Ends(NamedTuple):
    """Both ends of a pipe or pseudo-terminal."""

    read: int
    write: int


class StartDescriptors:
    """Owns the descriptors of one start of a sandbox, and closes them when its `with` block ends.

    Descriptors opened for the child are always closed: it has copies. The executor's own are closed only if the start
    failed; after `release` they belong to the started sandbox. `on_failure` adds other steps that undo a failed start.
    """

    def __init__(self) -> None:
        self._child = ExitStack()
        self._failure = ExitStack()
        self.inherited: list[int] = []
        """Descriptors that keep their numbers in the child."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._failure, self._child:
            pass

    def on_failure(self, action: Callable[[], object]) -> None:
        """Call `undo` when the block ends without `release`; the last one added runs first."""
        self._failure.callback(action)

    def release(self) -> None:
        """Hand the executor's descriptors to their new owners: the start has succeeded."""
        self._failure.pop_all()

    def memory_file(self, name: str, content: bytes) -> int:
        """Return an inherited descriptor of a file in memory, at its start."""
        fd = os.memfd_create(name)
        self._give(fd, inherit=True)
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def from_child(self, *, terminal: bool = False, inherit: bool = False) -> Ends:
        """Open a pipe, or a pseudo-terminal, that the child writes to and the executor reads."""
        ends = open_terminal() if terminal else Ends(*os.pipe())
        self._failure.callback(os.close, ends.read)
        self._give(ends.write, inherit=inherit)
        return ends

    def to_child(self) -> Ends:
        """Open a pipe that the executor writes to and the child reads through an inherited descriptor."""
        ends = Ends(*os.pipe())
        self._failure.callback(os.close, ends.write)
        self._give(ends.read, inherit=True)
        return ends

    def _give(self, fd: int, *, inherit: bool) -> None:
        self._child.callback(os.close, fd)
        if inherit:
            self.inherited.append(fd)


class OutputReader:
    """Reads a sandbox's output from a descriptor, which it owns, at a limited rate. `ended` is called at the end.

    Belongs to the event loop that creates it.
    """

    def __init__(self, fd: int, sink: Sink, ended: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._sink = sink
        self._ended = ended
        self._closed = False
        self._throttle = printed()
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._readable)

    def close(self) -> None:
        """Stop reading, and close the descriptor."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._fd)
            os.close(self._fd)

    def _readable(self) -> None:
        try:
            piece = os.read(self._fd, READ)
        except BlockingIOError:
            return
        except OSError:
            piece = b""  # a terminal reports its last writer's end as an error
        if not piece:
            self.close()
            self._ended()
            return
        self._sink(piece)
        if (wait := self._throttle.read(len(piece))) and not self._closed:
            self._loop.remove_reader(self._fd)
            self._loop.call_later(wait, self._read_on)

    def _read_on(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._fd, self._readable)


def listening_socket(folder: Path, name: str) -> socket.socket:
    """Return a listening socket for a sandbox to inherit: inside it the socket needs no name and no writable folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(f"/proc/self/fd/{handle}/{name}")
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.close(handle)
    return listener


def open_terminal() -> Ends:
    """Open a pseudo-terminal that passes text through unchanged: programs under it print as they would for a person."""
    read, write = os.openpty()
    attributes = termios.tcgetattr(write)
    attributes[1] &= ~termios.OPOST
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(write, termios.TCSANOW, attributes)
    return Ends(read, write)
