"""Archives and folders for tests, valid and hostile: headers are written by hand if a library would reject them."""

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

BLOCK = 512
END = bytes(2 * BLOCK)


def header(name: bytes, *, size: int = 0, kind: bytes = b"0", link: bytes = b"", size_field: bytes = b"") -> bytes:
    """One ustar header with a correct checksum and any field values."""
    field = size_field or b"%011o\0" % size
    block = bytearray(
        name[:100].ljust(100, b"\0")
        + b"0000644\0"
        + b"0000000\0" * 2
        + field
        + b"%011o\0" % 0
        + b" " * 8
        + kind
        + link[:100].ljust(100, b"\0")
        + b"ustar\x0000"
    ).ljust(BLOCK, b"\0")
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def entry(name: bytes, content: bytes = b"", *, kind: bytes = b"0", link: bytes = b"") -> bytes:
    """A header and its content, padded to whole blocks."""
    return header(name, size=len(content), kind=kind, link=link) + content + bytes(-len(content) % BLOCK)


def record(key: str, value: str) -> bytes:
    """Return one pax record; its length includes the length field."""
    rest = f" {key}={value}\n".encode()
    length = len(rest) + 1
    while len(f"{length}") + len(rest) != length:
        length = len(f"{length}") + len(rest)
    return f"{length}".encode() + rest


def tar_of(files: dict[str, bytes], *, executable: Iterable[str] = (), form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a valid archive; a name ending in `/` is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            info.size = len(content)
            info.mode = 0o755 if name in executable else 0o644
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def gzipped(files: dict[str, bytes]) -> bytes:
    return gzip.compress(tar_of(files))


def zipped(
    files: dict[str, bytes], *, executable: Iterable[str] = (), compression: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """The same files as a zip; a name ending in `/` is a folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            info.external_attr = (0o100755 if name in executable else 0o100644) << 16
            if name.endswith("/"):
                info.external_attr = 0o040755 << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def deep(folder: Path, levels: int, *, content: bytes = b"", keep_open: bool = False) -> int:
    """Make a folder with so many below each other, each named `d`, and a file in the last; its handle if kept open."""
    folder.mkdir()
    handle = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=handle)
        below = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=handle)
    os.write(file, content)
    os.close(file)
    if keep_open:
        return handle
    os.close(handle)
    return -1
