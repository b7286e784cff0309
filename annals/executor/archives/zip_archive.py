"""A strict reader of zip archives with stored and deflated entries. Sizes and checksums in headers are verified.

The central directory lists the entries; each entry's own header must agree with it in offset and name. Overlapping
entries, which let a small archive expand without limit, raise BadArchive.
"""

import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from annals.executor.archives.decompress import CHUNK, ByteSource
from annals.executor.archives.tar import Kind, Member
from annals.executor.errors import BadArchive

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_COMMENT_BYTES = 65_535
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 0x1, 0x800
_UNREADABLE = 0x20 | 0x40
"""Flags of patches and strong encryption, which plain zip does not use."""

_NEWEST_VERSION = 63
"""The newest format version that an entry may need: 6.3."""

_MADE_BY_UNIX, _MADE_BY_DOS = 3, (0, 10, 11)
_NAME_BYTES = 4096
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
DAMAGED = "The archive is damaged: its zip directory cannot be read."


class ZipEntry(NamedTuple):
    """One entry of the central directory; `start` is the offset of its own header."""

    member: Member
    raw_name: bytes
    method: int
    crc: int
    packed: int
    start: int


class _Directory(NamedTuple):
    entries: int
    size: int
    start: int


class ZipReader:
    """Walks the members of one archive in the order of their offsets. `copy` reads the current member's content.

    `bounded` wraps the source of plain bytes: one limit applies to all members together.
    """

    def __init__(self, file: BinaryIO, most_entries: int, bounded: Callable[[ByteSource], ByteSource]) -> None:
        self._file = file
        self._content = _Content(file)
        self._source = bounded(self._content)
        self._entries = _entries(file, most_entries)

    def __iter__(self) -> Iterator[Member]:
        end = 0
        for entry in sorted(self._entries, key=lambda entry: entry.start):
            if entry.start < end:
                raise BadArchive("The archive holds entries that overlap: it looks like a decompression bomb.")
            end = self._begin(entry)
            yield entry.member
            if self._content.unread:
                self.copy(lambda _: None)

    def copy(self, write: Callable[[bytes], object]) -> None:
        """Hand the current member's content to `write`, piece by piece."""
        while piece := self._source.read(CHUNK):
            write(piece)

    def _begin(self, entry: ZipEntry) -> int:
        """Check an entry's own header and select its content for reading; return its end offset."""
        self._file.seek(entry.start)
        header = self._file.read(_LOCAL.size)
        if len(header) < _LOCAL.size or not header.startswith(MAGICS[0]):
            raise BadArchive(DAMAGED)
        _, _, flags, method, *_, name_size, extra_size = _LOCAL.unpack(header)
        if self._file.read(name_size) != entry.raw_name or method != entry.method:
            raise BadArchive("The archive is damaged: its zip directory contradicts the entries.")
        if flags & _ENCRYPTED:
            raise BadArchive("The archive holds encrypted entries; send it without a password.")
        start = entry.start + _LOCAL.size + name_size + extra_size
        self._content.begin(entry, start)
        end: int = start + entry.packed
        return end


class _Content:
    """The plain bytes of one entry after another; each entry's size and checksum are verified."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._packed = self._size = self._crc = self._wanted_crc = 0
        self._inflate: zlib._Decompress | None = None
        self.unread = False

    def begin(self, entry: ZipEntry, start: int) -> None:
        self._file.seek(start)
        self._packed, self._size = entry.packed, entry.member.size
        self._crc, self._wanted_crc = 0, entry.crc
        self._inflate = zlib.decompressobj(wbits=-15) if entry.method == _DEFLATED else None
        self.unread = True

    def read(self, size: int) -> bytes:
        """Return the next bytes of the entry, none at its end."""
        while self.unread:
            piece = self._next(size)
            self._crc = zlib.crc32(piece, self._crc)
            self._size -= len(piece)
            if self._size < 0:
                raise BadArchive("The archive is damaged: an entry is larger than its zip directory says.")
            if piece:
                return piece
        return b""

    def _next(self, size: int) -> bytes:
        if self._inflate is None:
            piece = self._take(size)
            if not piece:
                self._finish(whole=self._packed == 0)
            return piece
        pending = self._inflate.unconsumed_tail or self._take(CHUNK)
        try:
            piece = self._inflate.decompress(pending, size)
        except zlib.error as damage:
            raise BadArchive("The archive is damaged: an entry cannot be decompressed.") from damage
        if self._inflate.eof and not piece:
            self._finish(whole=not (self._packed or self._inflate.unused_data))
        elif not piece and not pending:
            self._finish(whole=False)
        return piece

    def _take(self, size: int) -> bytes:
        piece = self._file.read(min(size, self._packed))
        self._packed -= len(piece)
        return piece

    def _finish(self, *, whole: bool) -> None:
        self.unread = False
        if not whole or self._size or self._crc != self._wanted_crc:
            raise BadArchive("The archive is damaged: an entry is cut off or its checksum is wrong.")


def _entries(file: BinaryIO, most: int) -> list[ZipEntry]:
    """Return the central directory's entries. Raises BadArchive before more than `most` are in memory."""
    directory = _directory(file)
    if directory.entries > most:
        raise BadArchive(f"The archive holds more than {most:,} entries.")
    file.seek(directory.start)
    left, found = directory.size, []
    for _ in range(directory.entries):
        header = file.read(_CENTRAL.size)
        if len(header) < _CENTRAL.size or not header.startswith(b"PK\x01\x02"):
            raise BadArchive(DAMAGED)
        fields = _CENTRAL.unpack(header)
        name_size, extra_size, comment_size = fields[10:13]
        if name_size > _NAME_BYTES:
            raise BadArchive(f"The archive holds a file name longer than {_NAME_BYTES:,} bytes.")
        tail = file.read(name_size + extra_size + comment_size)
        left -= len(header) + len(tail)
        if len(tail) < name_size + extra_size + comment_size or left < 0:
            raise BadArchive(DAMAGED)
        found.append(_entry(fields, tail[:name_size], tail[name_size : name_size + extra_size]))
    if left:
        raise BadArchive(DAMAGED)
    return found


def _directory(file: BinaryIO) -> _Directory:
    """Find the central directory by the record at the archive's end."""
    length = file.seek(0, os.SEEK_END)
    start = max(0, length - _END.size - _COMMENT_BYTES)
    file.seek(start)
    tail = file.read(_END.size + _COMMENT_BYTES)
    at = tail.rfind(MAGICS[1])
    if at < 0 or len(tail) - at < _END.size:
        raise BadArchive("The archive is cut off: it has no zip directory.")
    _, disk, first_disk, _, entries, size, offset, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise BadArchive("The archive is damaged: something follows its zip directory.")
    if (disk or first_disk) and (disk, first_disk) != (_FULL_16, _FULL_16):
        raise BadArchive("The archive is a part of a multi-volume archive; send it in one piece.")
    found, end = _Directory(entries, size, offset), start + at
    if entries == _FULL_16 or _FULL_32 in (size, offset):
        found, end = _directory_64(file, start + at)
    if found.start + found.size != end:  # no hidden data before, after or between
        raise BadArchive(DAMAGED)
    return found


def _directory_64(file: BinaryIO, end: int) -> tuple[_Directory, int]:
    """Return the directory of the zip64 records, and the records' offset."""
    file.seek(max(0, end - _LOCATOR_64.size))
    locator = file.read(_LOCATOR_64.size)
    if len(locator) < _LOCATOR_64.size or not locator.startswith(b"PK\x06\x07"):
        raise BadArchive(DAMAGED)
    offset_64 = _LOCATOR_64.unpack(locator)[2]
    file.seek(min(offset_64, end))
    record = file.read(_END_64.size)
    if len(record) < _END_64.size or not record.startswith(b"PK\x06\x06"):
        raise BadArchive(DAMAGED)
    *_, entries, size, offset = _END_64.unpack(record)
    return _Directory(entries, size, offset), offset_64


def _entry(fields: tuple[int, ...], raw_name: bytes, extra: bytes) -> ZipEntry:
    made_by, flags, method, crc = fields[1] >> 8, fields[3], fields[4], fields[7]
    size, packed, attributes, start = fields[9], fields[8], fields[15], fields[16]
    size, packed, start = _wide(extra, size, packed, start)
    name = _name(raw_name, flags, made_by)
    mode = attributes >> 16 if made_by == _MADE_BY_UNIX else 0
    if flags & _ENCRYPTED:
        raise BadArchive("The archive holds encrypted entries; send it without a password.")
    if method not in (_STORED, _DEFLATED) or flags & _UNREADABLE or fields[2] & 0xFF > _NEWEST_VERSION:
        raise BadArchive("The archive uses a rare kind of compression; make it with plain zip (deflate).")
    kind = _kind(name, mode)
    if kind == "directory" and (size or not name.endswith("/")):  # other readers would see a file
        raise BadArchive("The archive is damaged: a directory in it has the name or the content of a file.")
    return ZipEntry(Member(name, kind, size, mode & 0o777, ""), raw_name, method, crc, packed, start)


def _kind(name: str, mode: int) -> Kind:
    if stat.S_ISLNK(mode):
        return "symlink"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadArchive("The archive holds a device or a pipe; only files and directories can be uploaded.")
    return "directory" if name.endswith("/") or stat.S_ISDIR(mode) else "file"


def _wide(extra: bytes, *values: int) -> tuple[int, ...]:
    """Return the values, with 64-bit ones from the zip64 extra field in the positions marked as too large."""
    while _FULL_32 in values and len(extra) >= 4:
        kind, size = struct.unpack_from("<2H", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == 1:
            wide = [int.from_bytes(field[at : at + 8], "little") for at in range(0, len(field) - 7, 8)][::-1]
            return tuple(wide.pop() if value == _FULL_32 and wide else value for value in values)
    return values


def _name(raw: bytes, flags: int, made_by: int) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as damage:
        if flags & _UTF8:
            raise BadArchive("The archive holds a file name that is not valid UTF-8.") from damage
        name = raw.decode("cp437")
    return name.replace("\\", "/") if made_by in _MADE_BY_DOS else name
