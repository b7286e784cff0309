"""The build cache: downloads of package managers, and artefacts, from earlier builds of the same project.

The keys are digests of a build's input, so an entry is never stale. The size is limited for each project and in total.
A failure of the cache makes a build slower, but never makes it fail.
"""

import asyncio
import hashlib
import os
import stat
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from annals.domain.decoding import UNREADABLE
from annals.domain.ports import Artefact, Build
from annals.executor.isolation import folders
from annals.executor.isolation.trash import Trash

log = structlog.get_logger()

LOCKS = {
    *("package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb", "deno.lock"),
    *("poetry.lock", "uv.lock", "Pipfile.lock", "pdm.lock", "pylock.toml"),
}
DESCRIPTIONS = {"package.json", "requirements.txt", "pyproject.toml", "Pipfile"}
"""Files that list packages: lock files with exact versions, and descriptions."""

DEPTH = 4
MOST_FILES = 200
MOST_BYTES = 16 * 1024 * 1024
MOST_SOURCE_BYTES = 64 * 1024 * 1024
MOST_ARTEFACTS = 500
LOOK = folders.WalkBounds(seconds=20.0, entries=500_000)
"""Limits of measuring a build's downloads; a larger folder is not kept."""
OFF = ("OPEN_RUNTIMES_BUILD_CACHE", "disabled")
"""The variable, and its value, with which a function's builds do not use the cache."""

OF_ONE_BUILD = frozenset(("APPWRITE_FUNCTION_DEPLOYMENT", "APPWRITE_FUNCTION_API_KEY"))
"""Variables that differ between builds of the same source."""


class CacheKeys(msgspec.Struct, frozen=True):
    """Digests of a build's input: the key of its downloads, and of its artefact (empty if that may differ)."""

    packages: str
    artefact: str


class _Downloads(NamedTuple):
    """One folder of downloads: when it was used, and its recorded size."""

    used: float
    folder: Path
    record: Path
    size: int | None


class BuildCache:
    """Stores folders of downloads and records of artefacts by project; removes the least recently used first.

    Each build measures its downloads once and records the size, so that no other code needs to look inside.
    """

    def __init__(self, folder: Path, *, most_bytes: int, project_bytes: int) -> None:
        self._folder = folder
        self._trash = Trash(folder.parent)
        self._most = most_bytes
        self._each = project_bytes
        self._sweeping: asyncio.Task[None] | None = None
        self._changed = False

    def open(self) -> None:
        """Blocking."""
        self._folder.mkdir(mode=0o700, exist_ok=True)

    async def take(self, project: str, key: str, target: Path) -> bool:
        """Move cached downloads to `target`, or make it an empty folder; return True if there were downloads."""
        return await asyncio.to_thread(self._take, self._downloads(project, key), target)

    async def give(self, project: str, key: str, source: Path) -> None:
        """Store a build's downloads from `source`, in place of an earlier entry."""
        try:
            await asyncio.to_thread(self._give, source, project, key)
        except OSError as fault:
            log.warning("build_cache.not_kept", project=project, message=str(fault))
        self._changed = True
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.create_task(self._sweep(), name="build-cache-sweep")

    async def swept(self) -> None:
        """Wait until the cache is within its limits."""
        if self._sweeping is not None:
            await asyncio.wait((self._sweeping,))

    async def artefact(self, project: str, key: str) -> Artefact | None:
        """Return the artefact of an earlier build from the same input, or None."""
        try:
            note = await asyncio.to_thread(self._note(project, key).read_bytes)
            return msgspec.json.decode(note, type=Artefact)
        except (OSError, *UNREADABLE):
            return None

    async def keep_artefact(self, project: str, key: str, artefact: Artefact) -> None:
        try:
            await asyncio.to_thread(_write, self._note(project, key), msgspec.json.encode(artefact))
        except OSError as fault:
            log.warning("build_cache.not_kept", project=project, message=str(fault))

    def _downloads(self, project: str, key: str) -> Path:
        return self._of(project) / "packages" / key

    def _note(self, project: str, key: str) -> Path:
        return self._of(project) / "artefacts" / key

    def _of(self, project: str) -> Path:
        return self._folder / hashlib.sha256(project.encode()).hexdigest()[:32]

    def _take(self, downloads: Path, target: Path) -> bool:
        try:
            downloads.rename(target)
            target.chmod(0o755)
        except OSError as fault:
            if not isinstance(fault, FileNotFoundError):
                log.warning("build_cache.dropped", folder=str(downloads), message=str(fault))
                self._trash.put(downloads)
                self._trash.put(target)
            target.mkdir(mode=0o755)
            return False
        return True

    def _give(self, source: Path, project: str, key: str) -> None:
        """Store downloads if they are not too large. Raises OSError."""
        downloads, record = self._downloads(project, key), _record(self._of(project), key)
        source.chmod(0o755)
        size = folders.size(source, LOOK)
        if not size.whole or size.occupied > self._each:
            fault = "is larger than a project's limit" if size.whole else "could not be measured"
            log.info("build_cache.dropped", project=project, bytes=size.occupied, message=f"The folder {fault}.")
            return
        if not size.entries:
            return
        self._trash.remove(downloads)
        downloads.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = time.time()
        os.utime(source, (now, now))
        _write(record, str(size.occupied).encode())  # first: a sweep removes folders without a recorded size
        source.rename(downloads)

    async def _sweep(self) -> None:
        """Bring the cache within its limits, beside builds, which never see an error of it."""
        while self._changed:
            self._changed = False
            try:
                await asyncio.to_thread(self._shrink)
            except Exception:
                log.exception("build_cache.not_swept")

    def _shrink(self) -> None:
        """Remove the least recently used entries until each project and the total are within their limits."""
        total = 0
        of_project: Counter[Path] = Counter()
        everything = [entry for project in self._folder.iterdir() for entry in _entries(project)]
        for entry in sorted(everything, reverse=True):
            project = entry.folder.parent
            if entry.size is None or of_project[project] + entry.size > self._each or total + entry.size > self._most:
                entry.record.unlink(missing_ok=True)
                self._trash.remove(entry.folder)
            else:
                of_project[project] += entry.size
                total += entry.size
        for project in self._folder.iterdir():
            for note in _newest_first(project / "artefacts")[MOST_ARTEFACTS:]:
                note.unlink(missing_ok=True)


def _entries(project: Path) -> Iterator[_Downloads]:
    """Yield a project's downloads with their recorded sizes; an entry that a build took meanwhile is skipped."""
    for folder in _newest_first(project / "packages"):
        record = _record(project, folder.name)
        try:
            size = int(record.read_text())
        except (OSError, ValueError):
            size = None
        try:
            yield _Downloads(folder.lstat().st_mtime, folder, record, size)
        except FileNotFoundError:
            continue


def _record(project: Path, key: str) -> Path:
    return project / "sizes" / key


def cache_keys(job: Build, source: Path) -> CacheKeys:
    """Return the cache keys of a build whose source is unpacked at `source`. Blocking."""
    packages = hashlib.sha256(f"{job.runtime}\0{job.commands}\0".encode())
    fixed = not job.commands.strip()
    for name, content in _package_files(source):
        packages.update(f"{name}\0{len(content)}\0".encode() + content)
        fixed = fixed or _is_lock(name, content)
    return CacheKeys(packages.hexdigest(), _digest(job, source) if fixed else "")


def _digest(job: Build, source: Path) -> str:
    """Return a digest of a build's whole input, without file times; empty if the source is too large."""
    environment = {name: value for name, value in job.environment.items() if name not in OF_ONE_BUILD}
    parameters = [job.runtime, job.commands, job.entrypoint, job.output_directory, environment]
    digest = hashlib.sha256(msgspec.json.encode(parameters, order="deterministic"))
    left = MOST_SOURCE_BYTES
    for folder, below, names in os.walk(source):
        below.sort()
        for name in sorted((*below, *names)):
            path = Path(folder, name)
            found = path.lstat()
            left -= found.st_size
            if left < 0:
                return ""
            digest.update(f"{path.relative_to(source)}\0{found.st_mode}\0".encode(errors="surrogateescape"))
            if stat.S_ISREG(found.st_mode):
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            elif stat.S_ISLNK(found.st_mode):
                digest.update(os.fsencode(path.readlink()))
    return digest.hexdigest()


def _package_files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of files that list packages, in a fixed order."""
    left = MOST_FILES
    for folder, below, names in os.walk(source):
        depth = len(Path(folder).relative_to(source).parts)
        below[:] = sorted(name for name in below if name != "node_modules") if depth < DEPTH else []
        for name in sorted((LOCKS | DESCRIPTIONS).intersection(names)):
            left -= 1
            if left >= 0 and (content := _content(Path(folder), name)) is not None:
                yield str(Path(folder, name).relative_to(source)), content


def _content(folder: Path, name: str) -> bytes | None:
    try:
        with os.fdopen(folders.open_regular(folder, name), "rb") as file:
            return file.read(MOST_BYTES)
    except OSError:
        return None


def _is_lock(name: str, content: bytes) -> bool:
    """Return True for a file with exact versions: a lock file, or a `requirements.txt` with `==` in every line."""
    last = name.rpartition("/")[2]
    if last != "requirements.txt":
        return last in LOCKS
    text = content.decode(errors="replace").replace("\\\n", " ")
    lines = [line.split("#", 1)[0].strip() for line in text.splitlines()]
    return all("==" in line for line in lines if line)


def _write(note: Path, content: bytes) -> None:
    note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = note.with_suffix(".part")
    part.write_bytes(content)
    part.rename(note)


def _newest_first(folder: Path) -> list[Path]:
    found = []
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                found.append((path.lstat().st_mtime, path))
    return [path for _, path in sorted(found, reverse=True)]
