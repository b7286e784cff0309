"""Compressed states of executions, which are most of a log, with a dictionary of this package.

A compressed state is one byte, the number of its dictionary, and a zstd frame without its magic number. A plain state
is JSON and begins with a brace. All other code, the seal included, works on the plain bytes.
Reasons and costs: docs/adr/0023-states-of-executions-are-stored-compressed.md.
"""

import functools
import threading
from importlib.resources import files

import zstandard

from annals.store.errors import UnreadableEvent

NEWEST = 1
"""The number of the dictionary for writing. Every released dictionary stays, for reading."""

LONGEST = 1 << 20
"""Longer states stay plain, and a state that claims to be longer is not read: twice the limit of an append."""

PREFIX = "execution."
"""The prefix of the topics whose states no SQL statement reads as JSON."""

_LEVEL = 3
_SHORTS, _LONG = (b"\x20", b"\x60"), b"\xa0"
"""The first bytes of our frames: one segment, and a length of one, two or (the last) four bytes."""

_MAGIC = zstandard.FRAME_HEADER
_MAGIC_BYTES = len(_MAGIC)


class _Codecs(threading.local):
    """The codecs of a thread, made on first use: the library's objects are not safe for several threads."""

    def __init__(self) -> None:
        self._compressor: zstandard.ZstdCompressor | None = None
        self._decompressors: dict[int, zstandard.ZstdDecompressor] = {}

    def compressor(self) -> zstandard.ZstdCompressor:
        if self._compressor is None:
            self._compressor = zstandard.ZstdCompressor(
                level=_LEVEL, dict_data=_dictionary(NEWEST), write_checksum=False, write_dict_id=False
            )
        return self._compressor

    def decompressor(self, number: int) -> zstandard.ZstdDecompressor:
        made = self._decompressors.get(number)
        if made is None:
            made = self._decompressors[number] = zstandard.ZstdDecompressor(dict_data=_dictionary(number))
        return made


_codecs = _Codecs()


@functools.cache
def _dictionary(number: int) -> zstandard.ZstdCompressionDict:
    """Return a dictionary. Raises UnreadableEvent for an unknown number."""
    file = files(__package__).joinpath(f"{number}.dict")
    if not file.is_file():
        raise UnreadableEvent(f"its dictionary {number} is unknown: it was altered, or stored by a newer version")
    return zstandard.ZstdCompressionDict(file.read_bytes())


def compact(state: bytes) -> bytes:
    """Return a plain state compressed, or unchanged if that is not smaller."""
    if len(state) > LONGEST:
        return state
    packed = b"%c%b" % (NEWEST, _codecs.compressor().compress(state)[_MAGIC_BYTES:])
    return packed if len(packed) < len(state) else state


def plain(state: bytes) -> bytes:
    """Return a stored state as JSON. Raises UnreadableEvent for bytes that are neither JSON nor from `compact`."""
    if state.startswith(b"{"):
        return state
    if state[1:2] not in _SHORTS and not _is_long(state):
        raise UnreadableEvent("it is neither JSON nor a compressed state")
    try:  # the size of the frame, one frame, no bytes after it; keyword arguments would double the cost
        found = _codecs.decompressor(state[0]).decompress(_MAGIC + state[1:], 0, False, False)
    except zstandard.ZstdError as error:
        raise UnreadableEvent(f"a compressed state is damaged: {error}") from error
    if not found.startswith(b"{"):
        raise UnreadableEvent("a compressed state is not JSON")
    return found


def _is_long(state: bytes) -> bool:
    """Return whether a state has a four-byte length within the limit: the library allocates that many bytes."""
    return state[1:2] == _LONG and int.from_bytes(state[2:6], "little") <= LONGEST


def plain_or_altered(state: bytes) -> bytes:
    """Return a stored state as JSON, or unchanged if it is unreadable: then it differs from any sealed state."""
    try:
        return plain(state)
    except UnreadableEvent:
        return state
