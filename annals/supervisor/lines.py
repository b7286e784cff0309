"""What a child writes to its pipe, line by line, without ever holding more than one line's bound of it."""

import asyncio
import json
import os
from collections.abc import Callable

LONGEST = 64 * 1024


class Lines:
    """Reads the pipe's end `descriptor` on the running loop and hands on each line; closes it at the end."""

    def __init__(self, descriptor: int, take: Callable[[str], None]) -> None:
        self._descriptor, self._take = descriptor, take
        self._rest = b""
        self._cut = False
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            piece = os.read(self._descriptor, LONGEST)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self.close()
            return
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._give(line)
        if len(self._rest) > LONGEST:
            self._give(self._rest[:LONGEST])
            self._rest, self._cut = b"", True

    def _give(self, line: bytes) -> None:
        skipped, self._cut = self._cut, False  # the rest of a line that was too long says nothing by itself
        if line and not skipped:
            self._take(line.decode("utf-8", "replace"))

    def close(self) -> None:
        """Hand on what is left, and stop reading."""
        if self._descriptor < 0:
            return
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        self._give(self._rest)
        self._rest = b""


def json_entry(line: str) -> dict[str, object] | None:
    """A structured log line; None for any other."""
    if not line.startswith("{"):
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def as_words(line: str) -> str:
    """What a line says without its frame: a structured one's event and reason."""
    entry = json_entry(line)
    if entry is None:
        return line
    return ": ".join(str(entry[name]) for name in ("event", "reason") if entry.get(name))
