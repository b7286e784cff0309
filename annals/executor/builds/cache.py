"""What builds may take over from earlier ones of their project: package managers' downloads, and whole artefacts.

Both are kept by what goes into a build, so that nothing stale is found, and bounded, for each project and in all.
A fault here costs a build time, never its success.
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
"""Files that say what is installed: to the byte, and roughly."""

DEPTH = 4
MOST_FILES = 200
MOST_BYTES = 16 * 1024 * 1024
MOST_SOURCE_BYTES = 64 * 1024 * 1024
MOST_ARTEFACTS = 500
LOOK = folders.Bounds(seconds=20.0, entries=500_000)
"""How long a build's own downloads are measured; what takes longer is not kept."""
OFF = ("OPEN_RUNTIMES_BUILD_CACHE", "disabled")
"""The variable of a function whose builds take over nothing, and its value."""

OF_ONE_BUILD = frozenset(("APPWRITE_FUNCTION_DEPLOYMENT", "APPWRITE_FUNCTION_API_KEY"))
"""Variables that differ between builds of the same."""


class Inputs(msgspec.Struct, frozen=True):
    """A build by what goes into it: `packages` names its downloads, `whole` its artefact, empty where it may change."""

    packages: str
    whole: str


class _Kept(NamedTuple):
    """Downloads of one project: when they were used, and the size that was recorded."""

    used: float
    folder: Path
    record: Path
    size: int | None


class BuildCache:
    """Below `folder`: folders of downloads and notes of artefacts by project; the least recently used go first.

    A build walks what it leaves itself, once, and its size is recorded: nobody else ever looks inside.
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

    async def take(self, project: str, key: str, place: Path) -> bool:
        """Move what earlier builds downloaded to `place`, an empty folder where there is nothing; whether there was."""
        return await asyncio.to_thread(self._take, self._kept(project, key), place)

    async def give(self, project: str, key: str, place: Path) -> None:
        """Keep what a build leaves at `place`, instead of what is there under this name."""
        try:
            await asyncio.to_thread(self._give, place, project, key)
        except OSError as fault:
            log.warning("build_cache.not_kept", project=project, message=str(fault))
        self._changed = True
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.create_task(self._sweep(), name="build-cache-sweep")

    async def swept(self) -> None:
        """Wait until the cache is within its bounds again."""
        if self._sweeping is not None:
            await asyncio.wait((self._sweeping,))

    async def artefact(self, project: str, key: str) -> Artefact | None:
        """What an earlier build of the same made."""
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

    def _kept(self, project: str, key: str) -> Path:
        return self._of(project) / "packages" / key

    def _note(self, project: str, key: str) -> Path:
        return self._of(project) / "artefacts" / key

    def _of(self, project: str) -> Path:
        return self._folder / hashlib.sha256(project.encode()).hexdigest()[:32]

    def _take(self, kept: Path, place: Path) -> bool:
        try:
            kept.rename(place)
            place.chmod(0o755)
        except OSError as fault:
            if not isinstance(fault, FileNotFoundError):
                log.warning("build_cache.dropped", folder=str(kept), message=str(fault))
                self._trash.put(kept)
                self._trash.put(place)
            place.mkdir(mode=0o755)
            return False
        return True

    def _give(self, place: Path, project: str, key: str) -> None:
        """Raises OSError when nothing is kept."""
        kept, record = self._kept(project, key), _record(self._of(project), key)
        place.chmod(0o755)
        size = folders.size(place, LOOK)
        if not size.whole or size.occupied > self._each:
            fault = "is larger than a project's may be" if size.whole else "could not be measured"
            log.info("build_cache.dropped", project=project, bytes=size.occupied, message=f"The folder {fault}.")
            return
        if not size.entries:
            return
        self._trash.remove(kept)
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = time.time()
        os.utime(place, (now, now))
        _write(record, str(size.occupied).encode())  # a sweep that found a folder without one would remove it
        place.rename(kept)

    async def _sweep(self) -> None:
        """Runs beside builds: whatever happens to it, no build hears of it."""
        while self._changed:
            self._changed = False
            try:
                await asyncio.to_thread(self._shrink)
            except Exception:
                log.exception("build_cache.not_swept")

    def _shrink(self) -> None:
        """Remove what was used longest ago until every project and all together are within their bounds."""
        total = 0
        of_project: Counter[Path] = Counter()
        everything = [kept for project in self._folder.iterdir() for kept in _found(project)]
        for kept in sorted(everything, reverse=True):
            project = kept.folder.parent
            if kept.size is None or of_project[project] + kept.size > self._each or total + kept.size > self._most:
                kept.record.unlink(missing_ok=True)
                self._trash.remove(kept.folder)
            else:
                of_project[project] += kept.size
                total += kept.size
        for project in self._folder.iterdir():
            for note in _newest_first(project / "artefacts")[MOST_ARTEFACTS:]:
                note.unlink(missing_ok=True)


def _found(project: Path) -> Iterator[_Kept]:
    """What is kept of a project, by what was recorded of it; one that was taken meanwhile is left out."""
    for folder in _newest_first(project / "packages"):
        record = _record(project, folder.name)
        try:
            size = int(record.read_text())
        except (OSError, ValueError):
            size = None
        try:
            yield _Kept(folder.lstat().st_mtime, folder, record, size)
        except FileNotFoundError:
            continue


def _record(project: Path, key: str) -> Path:
    return project / "sizes" / key


def inputs(job: Build, source: Path) -> Inputs:
    """What goes into a build whose source is unpacked at `source`. Blocking."""
    packages = hashlib.sha256(f"{job.runtime}\0{job.commands}\0".encode())
    fixed = not job.commands.strip()
    for name, content in _described(source):
        packages.update(f"{name}\0{len(content)}\0".encode() + content)
        fixed = fixed or _is_lock(name, content)
    return Inputs(packages.hexdigest(), _whole(job, source) if fixed else "")


def _whole(job: Build, source: Path) -> str:
    """A digest of all that goes into a build; an archive packed again is the same source, whatever its times say."""
    environment = {name: value for name, value in job.environment.items() if name not in OF_ONE_BUILD}
    said = [job.runtime, job.commands, job.entrypoint, job.output_directory, environment]
    digest = hashlib.sha256(msgspec.json.encode(said, order="deterministic"))
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


def _described(source: Path) -> Iterator[tuple[str, bytes]]:
    """The files that say which packages are installed, by name below the source, in a fixed order."""
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
    """Whether a file leaves nothing open: `requirements.txt` does where it says `==` to everything."""
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
