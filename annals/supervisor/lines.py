"""Lines of a child's output, read from its pipe with a bound on the length of a line."""

import asyncio
import json
import os
from collections.abc import Callable

LONGEST = 64 * 1024


class Lines:
    """Calls `take` with each line of a pipe on the running event loop; closes the descriptor at its end."""

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
        skipped, self._cut = self._cut, False  # the rest of a line that was too long is dropped
        if line and not skipped:
            self._take(line.decode("utf-8", "replace"))

    def close(self) -> None:
        """Call `take` with the unfinished line, and stop reading."""
        if self._descriptor < 0:
            return
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        self._give(self._rest)
        self._rest = b""


def json_entry(line: str) -> dict[str, object] | None:
    """Return the entry of a structured log line, or None."""
    if not line.startswith("{"):
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def as_words(line: str) -> str:
    """Return the text of a line: event and reason of a structured entry, else the line itself."""
    entry = json_entry(line)
    if entry is None:
        return line
    return ": ".join(str(entry[name]) for name in ("event", "reason") if entry.get(name))
