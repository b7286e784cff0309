"""A strict, streaming reader of tar: ustar, GNU long names and pax. Sizes and kinds in headers are verified."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from annals.executor.archives.decompress import CHUNK, ByteSource
from annals.executor.errors import BadArchive

BLOCK = 512
ZERO = bytes(BLOCK)
EXTENSION_LIMIT = 1024 * 1024
SIZE_LIMIT = 1 << 50

Kind = Literal["file", "directory", "symlink", "hardlink"]
KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"5": "directory",
    b"2": "symlink",
    b"1": "hardlink",
}
REFUSED = {
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a named pipe",
    b"S": "a sparse file",
    b"M": "a part of a multi-volume archive",
}


class Member(NamedTuple):
    """One entry of an archive; `name` and `link` are not checked yet."""

    name: str
    kind: Kind
    size: int
    mode: int
    link: str


class Extensions(NamedTuple):
    """Fields of pax and GNU headers for the next member; empty if the headers do not set them."""

    name: str = ""
    link: str = ""
    size: int = -1


class TarReader:
    """Walks the members of one archive. `copy` reads the current member's content; otherwise it is skipped."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._buffer = b""
        self._left = 0
        self._padding = 0
        self._first = True

    def __iter__(self) -> Iterator[Member]:
        said, everywhere = Extensions(), Extensions()
        while True:
            self._skip()
            block = self._block()
            if block == ZERO:
                self._finish()
                return
            kind = self._check(block)
            size = _number(block[124:136])
            if kind in b"xXLK" or kind == b"g":
                payload = self._payload(size)
                if kind == b"g":
                    everywhere = _pax(payload, everywhere)
                elif kind in b"xX":
                    said = _pax(payload, said)
                elif kind == b"L":
                    said = said._replace(name=_text(payload.rstrip(b"\0")))
                else:
                    said = said._replace(link=_text(payload.rstrip(b"\0")))
                continue
            member = _member(block, kind, size, _merged(everywhere, said))
            said = Extensions()
            self._left = member.size
            self._padding = -member.size % BLOCK
            yield member

    def copy(self, write: Callable[[bytes], object]) -> None:
        """Hand the current member's content to `write`, piece by piece."""
        while self._left:
            piece = self._take(min(self._left, CHUNK))
            self._left -= len(piece)
            write(piece)

    def _skip(self) -> None:
        left = self._left + self._padding
        self._left = self._padding = 0
        while left:
            left -= len(self._take(min(left, CHUNK)))

    def _take(self, most: int) -> bytes:
        if not self._buffer:
            self._buffer = self._source.read(CHUNK)
            if not self._buffer:
                raise BadArchive("The archive is cut off: it ends in the middle of a file or has no end marker.")
        piece, self._buffer = self._buffer[:most], self._buffer[most:]
        return piece

    def _begin(self) -> None:
        """Read the first block. Raises BadArchive for a shorter file; decompression reports a truncated one itself."""
        while len(self._buffer) < BLOCK and (piece := self._source.read(CHUNK)):
            self._buffer += piece
        if len(self._buffer) < BLOCK:
            raise BadArchive("The upload is not a tar archive.")

    def _block(self) -> bytes:
        return self._payload(BLOCK, padded=False)

    def _payload(self, size: int, *, padded: bool = True) -> bytes:
        if size > EXTENSION_LIMIT:
            raise BadArchive("The archive has an extended header larger than a megabyte.")
        pieces, left = [], size + (-size % BLOCK if padded else 0)
        while left:
            if self._first:
                self._begin()
            piece = self._take(left)
            left -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)[:size]

    def _check(self, block: bytes) -> bytes:
        plain = sum(block[:148]) + sum(block[156:]) + 8 * 32
        try:
            said = int(block[148:156].strip(b" \0") or b"0", 8)
        except ValueError:
            said = -1
        if said != plain:
            raise BadArchive(
                "The upload is not a tar archive."
                if self._first
                else "The archive is damaged: a header's checksum is wrong."
            )
        self._first = False
        return block[156:157]

    def _finish(self) -> None:
        """Read to the end, which verifies checksums. Raises BadArchive for data after the end marker."""
        if self._first:
            raise BadArchive("The archive is empty.")
        while piece := (self._buffer or self._source.read(CHUNK)):
            self._buffer = b""
            if piece.strip(b"\0"):
                raise BadArchive("The archive is damaged: something follows its end marker.")


def _member(block: bytes, flag: bytes, size: int, said: Extensions) -> Member:
    if flag in REFUSED:
        raise BadArchive(f"The archive holds {REFUSED[flag]}; only files and directories can be uploaded.")
    kind = KINDS.get(flag)
    if kind is None:
        raise BadArchive("The archive holds an entry of a kind that is not known.")
    name = said.name or _name(block)
    if kind == "file" and flag == b"\0" and name.endswith("/"):
        kind = "directory"  # archives older than ustar mark directories like this
    if said.size >= 0:
        size = said.size
    return Member(
        name, kind, size if kind == "file" else 0, _number(block[100:108]), said.link or _text(_cut(block[157:257]))
    )


def _name(block: bytes) -> str:
    name = _cut(block[0:100])
    if block[257:263] == b"ustar\0" and (prefix := _cut(block[345:500])):
        name = prefix + b"/" + name
    return _text(name)


def _merged(everywhere: Extensions, said: Extensions) -> Extensions:
    return Extensions(
        said.name or everywhere.name, said.link or everywhere.link, said.size if said.size >= 0 else everywhere.size
    )


def _cut(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as damage:
        raise BadArchive("The archive holds a file name that is not valid UTF-8.") from damage


def _number(field: bytes) -> int:
    """Return an octal or base-256 number. Raises BadArchive for a negative or impossibly large one."""
    if field[0] & 0x80:
        value = -1 if field[0] == 0xFF else int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    else:
        digits = field.split(b"\0", 1)[0].strip(b" ")
        if digits.strip(b"01234567"):
            raise BadArchive("The archive is damaged: a number in a header is not one.")
        value = int(digits or b"0", 8)
    if not 0 <= value < SIZE_LIMIT:
        raise BadArchive("The archive is damaged: a size in a header is impossible.")
    return value


def _pax(payload: bytes, said: Extensions) -> Extensions:
    """Apply pax records. Raises BadArchive for sparse maps, which redefine content; other records are ignored."""
    while payload:
        head, space, _ = payload.partition(b" ")
        if not space or not head.isdigit() or len(head) > 7:
            raise BadArchive("The archive is damaged: an extended header cannot be read.")
        length = int(head)
        record, payload = payload[len(head) + 1 : length], payload[length:]
        key, equals, value = record[:-1].partition(b"=")
        if length <= len(head) + 1 or not equals or not record.endswith(b"\n"):
            raise BadArchive("The archive is damaged: an extended header cannot be read.")
        if key == b"path":
            said = said._replace(name=_text(value))
        elif key == b"linkpath":
            said = said._replace(link=_text(value))
        elif key == b"size":
            if not value.isdigit() or len(value) > 15:
                raise BadArchive("The archive is damaged: a size in a header is impossible.")
            said = said._replace(size=int(value))
        elif key.startswith(b"GNU.sparse"):
            raise BadArchive("The archive holds a sparse file; only plain files and directories can be uploaded.")
    return said
