"""Parses the frames in which a function server writes its functions' logs (annals/runtimes/README.md).

User code shares the server's process, so any bytes may arrive, in pieces of any size.
"""

import struct
from collections.abc import Mapping
from typing import Protocol

FRAME_LIMIT = 8 * 1024 * 1024
LOGS, ERRORS, END = 0, 1, 2

_LENGTH = struct.Struct(">I")
_HEAD = struct.Struct(">IBB")


class FrameError(Exception):
    """The bytes are no log frames; the message says why, as a predicate about the instance."""


class FrameTarget(Protocol):
    """Receives the frames of one execution."""

    def add(self, kind: int, data: bytes) -> None: ...
    def end(self) -> None: ...


class FrameParser:
    """Passes the text of frames to the logs that they name, in the pieces in which it arrives.

    It stores at most an incomplete head, so large frames cost no memory. Frames of unknown ids are dropped.
    """

    def __init__(self, logs: Mapping[bytes, FrameTarget]) -> None:
        self._logs = logs
        self._head = bytearray()
        self._id = b""
        self._kind = END
        self._left = 0
        """Bytes of the current frame's text that have not arrived."""

    def feed(self, data: bytes, at: int, frames: int) -> tuple[int, int]:
        """Parse `data` from `at`, at most `frames` frames; return the new position and the number of frames begun.

        Raises FrameError; the parser cannot be used afterwards.
        """
        size, begun = len(data), 0
        while at < size:
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                if (log := self._logs.get(self._id)) is not None:  # each time: it may have been removed meanwhile
                    log.add(self._kind, piece)
            elif begun >= frames:
                break
            elif not self._head and size - at >= _HEAD.size and size - at >= _HEAD.size + data[at + 5]:
                length, kind, width = _HEAD.unpack_from(data, at)
                at += _HEAD.size + width
                self._begin(length, kind, width, data[at - width : at])
                begun += 1
            else:
                taken = data[at : at + self._missing()]
                at += len(taken)
                self._head += taken
                if not self._missing():
                    length, kind, width = _HEAD.unpack_from(self._head)
                    self._begin(length, kind, width, bytes(self._head[_HEAD.size :]))
                    self._head.clear()
                    begun += 1
        return at, begun

    def _missing(self) -> int:
        """Return how many bytes of an incomplete head to read next; 0 if the head is complete."""
        head = self._head
        if len(head) < _LENGTH.size:
            return _LENGTH.size - len(head)
        _checked(*_LENGTH.unpack_from(head))
        return (_HEAD.size if len(head) < _HEAD.size else _HEAD.size + head[5]) - len(head)

    def _begin(self, length: int, kind: int, width: int, log_id: bytes) -> None:
        _checked(length)
        text = length - 2 - width
        if kind == END and text == 0:
            if (log := self._logs.get(log_id)) is not None:
                log.end()
            return
        if kind not in (LOGS, ERRORS) or text < 0:
            raise FrameError("it wrote bytes to its log socket that are no log frame.")
        if text == 0:
            raise FrameError("it wrote an empty log frame, which no function server does.")
        self._id, self._kind, self._left = log_id, kind, text


def _checked(length: int) -> None:
    if not 2 <= length <= FRAME_LIMIT:
        raise FrameError(f"it wrote a log frame of {length:,} bytes; {FRAME_LIMIT:,} are allowed.")
