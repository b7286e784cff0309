"""Decompresses archives while they are read, within limits that stop decompression bombs.

A squashfs image is read as a tar, so that our tar reader checks its content as in any archive.
"""

import os
import resource
import shutil
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

import zstandard

from annals.executor.errors import BadArchive

CHUNK = 256 * 1024
GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
SQUASHFS = b"hsqs"
FOREIGN = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "an empty zip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    SQUASHFS: "a squashfs image",
}
ZSTD_WINDOW = 128 * 1024 * 1024


class ByteSource(Protocol):
    """A source of plain bytes: `read` returns at most `size` bytes, none at the end."""

    def read(self, size: int, /) -> bytes: ...


class _Gzip:
    """Reads all members of a gzip file. Truncated or damaged members raise BadArchive; zero padding may follow."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(wbits=31)
        self._ended = False

    def read(self, size: int) -> bytes:
        while not self._ended:
            pending = self._inflate.unconsumed_tail or self._file.read(CHUNK)
            if not pending:
                raise BadArchive("The archive is cut off: its gzip stream has no end.")
            try:
                out = self._inflate.decompress(pending, size)
            except zlib.error as damage:
                raise BadArchive("The archive is damaged: its gzip stream cannot be decompressed.") from damage
            if self._inflate.eof:
                self._next_member()
            if out:
                return out
        return b""

    def _next_member(self) -> None:
        rest = self._inflate.unused_data or self._file.read(CHUNK)
        while rest and not rest.strip(b"\0"):
            rest = self._file.read(CHUNK)
        rest = rest.lstrip(b"\0")
        if not rest:
            self._ended = True
            return
        if len(rest) < 2:
            rest += self._file.read(CHUNK)
        if not rest.startswith(GZIP):
            raise BadArchive("The archive is damaged: something else follows its gzip stream.")
        self._inflate = zlib.decompressobj(wbits=31)
        self._file = _Rest(rest, self._file)  # type: ignore[assignment]


class _Rest:
    """A file whose first bytes were read already: `read` returns these first."""

    def __init__(self, first: bytes, file: BinaryIO) -> None:
        self._first = first
        self._file = file

    def read(self, size: int) -> bytes:
        if self._first:
            piece, self._first = self._first[:size], self._first[size:]
            return piece
        return self._file.read(size)


class _Zstd:
    """Reads all frames of a zstd file. A window above the limit raises BadArchive before memory is allocated."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._stream = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).stream_reader(
            file, read_across_frames=True
        )

    def read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except zstandard.ZstdError as damage:
            raise BadArchive("The archive is damaged: its zstd stream cannot be decompressed.") from damage


class Bounded:
    """A source that raises BadArchive beyond `most` bytes, beyond the expansion `ratio`, or after `deadline`.

    The ratio counts only above RATIO_FLOOR bytes: small archives of zeros are legitimate. `deadline` is in
    `time.monotonic` seconds.
    """

    def __init__(self, source: ByteSource, compressed: int, *, most: int, ratio: int, deadline: float) -> None:
        self._source = source
        self._most = min(most, max(compressed * ratio, RATIO_FLOOR))
        self._by_ratio = self._most < most
        self._deadline = deadline
        self.given = 0

    def read(self, size: int) -> bytes:
        if time.monotonic() > self._deadline:
            raise BadArchive("The archive takes too long to unpack.")
        piece = self._source.read(size)
        self.given += len(piece)
        if self.given > self._most:
            if self._by_ratio:
                raise BadArchive("The archive expands beyond any honest ratio: it looks like a decompression bomb.")
            raise BadArchive(f"The archive holds more than {self._most:,} bytes when unpacked.")
        return piece


RATIO_FLOOR = 64 * 1024 * 1024


def open_source(file: BinaryIO) -> ByteSource:
    """Return the plain bytes of an archive. Its first bytes decide the format, never its name."""
    magic = file.read(8)
    file.seek(0)
    if not magic:
        raise BadArchive("The archive is empty.")
    for mark, name in FOREIGN.items():
        if magic.startswith(mark):
            raise BadArchive(
                f"The archive is {name}; send a tar, plain or compressed with gzip or zstd, or as source a zip."
            )
    if magic.startswith(GZIP):
        return _Gzip(file)
    if magic.startswith(ZSTD):
        return _Zstd(file)
    return file


UNPRIVILEGED_ID = 65534
SQUASHFS_MEMORY_BYTES = 2 * 1024**3
SQUASHFS_CPU_SECONDS = 600
SQUASHFS_TOOL = "sqfs2tar"


def squashfs_readable() -> bool:
    """Return True if this host can read squashfs images."""
    return shutil.which(SQUASHFS_TOOL) is not None


@contextmanager
def squashfs_as_tar(file: BinaryIO) -> Iterator[ByteSource]:
    """Yield the content of an image as a tar, from a process with limits; as root it runs as an unprivileged user.

    Raises BadArchive.
    """
    tool = shutil.which(SQUASHFS_TOOL)
    if tool is None:
        raise BadArchive(
            "The build output is a squashfs image, which this host cannot read: install squashfs-tools-ng."
        )
    others: dict[str, object] = {}
    if os.geteuid() == 0:
        os.fchmod(file.fileno(), 0o644)  # nosec B103 the unprivileged user opens it
        others = {"user": UNPRIVILEGED_ID, "group": UNPRIVILEGED_ID, "extra_groups": []}
    process = subprocess.Popen(  # type: ignore[call-overload]
        [tool, "--no-xattr", "--no-skip", f"/proc/self/fd/{file.fileno()}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(file.fileno(),),
        env={},
        cwd="/",
        preexec_fn=_limit_process,  # noqa: PLW1509 it makes system calls alone
        **others,
    )
    try:
        yield _Tar(process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class _Tar:
    """The output of the process. Raises BadArchive at its end if the process failed."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def read(self, size: int) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 a pipe was asked for
        piece = self._process.stdout.read(size)
        if not piece and self._process.wait() != 0:
            raise BadArchive("The archive is damaged: its squashfs image cannot be read.")
        return piece


def _limit_process() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (SQUASHFS_MEMORY_BYTES, SQUASHFS_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SQUASHFS_CPU_SECONDS, SQUASHFS_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
