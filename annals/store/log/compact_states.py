"""How states of executions, most of what a log is, lie in its table: compressed with a dictionary of this package.

Such a state is one byte, the number of its dictionary, and a zstd frame without its magic number. A plain one is JSON
and begins with a brace. Everything else, the seal too, is about the plain bytes.
Why, and what that costs: docs/adr/0023-states-of-executions-are-stored-compressed.md.
"""

import functools
import threading
from importlib.resources import files

import zstandard

from annals.store.errors import UnreadableEvent

NEWEST = 1
"""The number of the dictionary that is written with. All that were ever released stay, to read with."""

LONGEST = 1 << 20
"""Longer states stay plain, and what claims to be longer is not read: twice what one append may send."""

PREFIX = "execution."
"""Topics whose states no statement reads as JSON."""

_LEVEL = 3
_SHORTS, _LONG = (b"\x20", b"\x60"), b"\xa0"
"""The first bytes of our frames: one segment and a length of one, two or, with the last, four bytes; nothing else."""

_MAGIC = zstandard.FRAME_HEADER
_MAGIC_BYTES = len(_MAGIC)


class _Codecs(threading.local):
    """One of each a thread, made when it is first needed: no two threads may use one of the library's at once."""

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
    """Raises UnreadableEvent for one that this program does not have."""
    file = files(__package__).joinpath(f"{number}.dict")
    if not file.is_file():
        raise UnreadableEvent(f"its dictionary {number} is unknown: it was altered, or stored by a newer version")
    return zstandard.ZstdCompressionDict(file.read_bytes())


def compact(state: bytes) -> bytes:
    """A plain state as it is stored: unchanged where that is not smaller."""
    if len(state) > LONGEST:
        return state
    packed = b"%c%b" % (NEWEST, _codecs.compressor().compress(state)[_MAGIC_BYTES:])
    return packed if len(packed) < len(state) else state


def plain(state: bytes) -> bytes:
    """A stored state as JSON. Raises UnreadableEvent for what neither is JSON nor was made by `compact`."""
    if state.startswith(b"{"):
        return state
    if state[1:2] not in _SHORTS and not _is_long(state):
        raise UnreadableEvent("it is neither JSON nor a compressed state")
    try:  # of any size that the frame says, one frame, nothing behind it: by place, since names cost as much again
        found = _codecs.decompressor(state[0]).decompress(_MAGIC + state[1:], 0, False, False)
    except zstandard.ZstdError as error:
        raise UnreadableEvent(f"a compressed state is damaged: {error}") from error
    if not found.startswith(b"{"):
        raise UnreadableEvent("a compressed state is not JSON")
    return found


def _is_long(state: bytes) -> bool:
    """Whether a state has the form of a long one, and no length that none has: it would be made room for."""
    return state[1:2] == _LONG and int.from_bytes(state[2:6], "little") <= LONGEST


def plain_or_altered(state: bytes) -> bytes:
    """For who compares with what was sealed: what cannot be read is nothing that was, and comes as it is."""
    try:
        return plain(state)
    except UnreadableEvent:
        return state
