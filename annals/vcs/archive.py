"""Packs the files of a folder into a deployment's source archive; equal files give equal bytes."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import FetchBounds

_DEEPEST = 64
_LONGEST_PATH = 1024


class SourceFile(NamedTuple):
    """A file of a source; `path` is relative to the folder."""

    path: str
    executable: bool
    data: bytes


def folder_parts(root_directory: str) -> tuple[str, ...]:
    """Return the segments of a folder's path; none for `.`, `/` and an empty text. Raises RepositoryError."""
    parts = tuple(part for part in root_directory.split("/") if part not in {"", "."})
    if any(part == ".." for part in parts) or "\\" in root_directory or "\0" in root_directory:
        raise RepositoryError("folder", "The root directory must be a folder of the repository.")
    return parts


def no_folder(root_directory: str, reference: str) -> RepositoryError:
    """Return the error for a folder that the commit lacks."""
    return RepositoryError("folder", f"The repository has no folder {root_directory!r} at {reference!r}.")


def pack(entries: Iterable[SourceFile], target: Path, bounds: FetchBounds) -> int:
    """Write a gzipped tar of regular files, and return their number. Raises RepositoryError beyond a bound."""
    files = size = 0
    with (
        target.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=_limited(raw, bounds), mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for entry in entries:
            _check(entry.path)
            files += 1
            size += len(entry.data)
            if files > bounds.files:
                raise RepositoryError("too_large", f"The folder holds more than {bounds.files:,} files.")
            if size > bounds.unpacked_bytes:
                raise RepositoryError(
                    "too_large", f"The folder's files are larger than {bounds.unpacked_bytes:,} bytes."
                )
            member = tarfile.TarInfo(entry.path)
            member.size, member.mode = len(entry.data), 0o755 if entry.executable else 0o644
            tar.addfile(member, io.BytesIO(entry.data))
    if not files:
        raise RepositoryError("folder", "The folder holds no file. Name a folder with files.")
    return files


def unpack_tarball(stream: IO[bytes], root_directory: str, reference: str, bounds: FetchBounds) -> Iterator[SourceFile]:
    """Yield the files of a folder from a host's archive, in which one top folder holds the repository."""
    wanted = folder_parts(root_directory)
    found, size = False, 0
    try:
        with tarfile.open(fileobj=stream, mode="r|gz") as tar:
            for member in tar:
                _, *parts = member.name.rstrip("/").split("/")
                size += member.size
                if size > bounds.unpacked_bytes:
                    raise RepositoryError(
                        "too_large", f"The repository is larger than {bounds.unpacked_bytes:,} bytes."
                    )
                if tuple(parts[: len(wanted)]) != wanted:
                    continue
                found = found or member.isdir() or len(parts) > len(wanted)
                if member.islnk() or member.issym():
                    raise RepositoryError("folder", f"The repository holds a link ({'/'.join(parts)[:200]}).")
                if member.isreg() and len(parts) > len(wanted):
                    content = tar.extractfile(member)
                    data = b"" if content is None else content.read()
                    yield SourceFile("/".join(parts[len(wanted) :]), bool(member.mode & 0o100), data)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise RepositoryError("unreachable", f"The repository's archive cannot be read: {error}") from error
    if not found:
        raise no_folder(root_directory, reference)


def _check(path: str) -> None:
    parts = path.split("/")
    if any(part in {"", ".", ".."} or part.lower() == ".git" for part in parts) or "\0" in path or "\\" in path:
        raise RepositoryError("folder", f"The repository holds a file with a forbidden name: {path[:200]!r}.")
    if len(parts) > _DEEPEST or len(path.encode()) > _LONGEST_PATH:
        raise RepositoryError("too_large", f"The repository holds a file too deep in folders: {path[:200]!r}.")


class _Limited(io.RawIOBase):
    """A file that raises RepositoryError beyond a number of bytes."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._left, self._most = file, most, most

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | memoryview", /) -> int:  # type: ignore[override]
        self._left -= len(data)
        if self._left < 0:
            raise RepositoryError("too_large", f"The packed folder is larger than {self._most:,} bytes.")
        return self._file.write(data)


def _limited(file: IO[bytes], bounds: FetchBounds) -> IO[bytes]:
    return _Limited(file, bounds.archive_bytes) if bounds.archive_bytes else file  # type: ignore[return-value]
