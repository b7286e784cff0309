"""The last lines of what an instance printed."""

import asyncio
from collections import deque

STARTED = b"HTTP server successfully started!"
TAIL_BYTES = 8 * 1024


class Tail:
    """The last lines a sandbox printed, and whether its server has said that it listens."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._carry = b""

    def add(self, piece: bytes) -> None:
        if not self.started.is_set():
            seen = self._carry + piece
            if STARTED in seen:
                self.started.set()
            self._carry = seen[-len(STARTED) :]
        self._pieces.append(piece[-TAIL_BYTES:])
        self._size += len(self._pieces[-1])
        while self._size > TAIL_BYTES and len(self._pieces) > 1:
            self._size -= len(self._pieces.popleft())

    def text(self) -> str:
        """Without what every server says at its start, which is no reason of anything."""
        lines = b"".join(self._pieces)[-TAIL_BYTES:].decode(errors="replace").strip().split("\n")
        return "\n".join(line for line in lines if line != STARTED.decode())
