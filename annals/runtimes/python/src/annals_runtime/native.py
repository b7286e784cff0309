"""Sends `print` and the standard streams to the log of the execution that writes."""

from __future__ import annotations

import contextvars
import io
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .logs import Log

current: contextvars.ContextVar[Log | None] = contextvars.ContextVar("annals_log", default=None)
running: set[Log] = set()


def owner() -> Log | None:
    """The log of the execution that is writing.

    Threads that user code starts carry no context; with one execution in flight there is no doubt whose they are.
    """
    log = current.get()
    if log is None and len(running) == 1:
        log = next(iter(running.copy()), None)
    return log


class Stream(io.TextIOBase):
    """A standard stream that writes to the execution's log, or to the real stream outside of executions."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.raw_side = Bytes(self)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        log = owner()
        if log is None:
            self.real.write(text)
        else:
            log.native(text)
        return len(text)

    def flush(self) -> None:
        if owner() is None:
            self.real.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self.real.fileno())

    def isatty(self) -> bool:
        return False

    def close(self) -> None:
        """Do nothing: all executions share the stream."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "replace"

    @property
    def buffer(self) -> Bytes:
        return self.raw_side


class Bytes(io.RawIOBase):
    """`sys.stdout.buffer`: bytes written there are text in the logs."""

    def __init__(self, text: Stream) -> None:
        self.text = text

    def write(self, data: Any) -> int:
        data = bytes(data)
        self.text.write(data.decode("utf-8", "replace"))
        return len(data)

    def flush(self) -> None:
        self.text.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.text.fileno()

    def close(self) -> None:
        """Do nothing: all executions share the stream."""


def capture() -> None:
    """Replace the standard streams, once, before user code is loaded."""
    sys.stdout = Stream(sys.stdout)  # type: ignore[assignment]
    sys.stderr = Stream(sys.stderr)  # type: ignore[assignment]
