"""What builds may take over from earlier ones of their project: package managers' downloads, and whole artefacts.

Both are kept by what goes into a build, so that nothing stale is found, and bounded, for each project and in all.
A fault here costs a build time, never its success.
"""

import asyncio
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog

from annals.domain.ports import Artefact, Build
from annals.executor import folders

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
OFF = ("OPEN_RUNTIMES_BUILD_CACHE", "disabled")
"""The variable of a function whose builds take over nothing, and its value."""

OF_ONE_BUILD = frozenset(("APPWRITE_FUNCTION_DEPLOYMENT", "APPWRITE_FUNCTION_API_KEY"))
"""Variables that differ between builds of the same."""


class Inputs(msgspec.Struct, frozen=True):
    """A build by what goes into it: `packages` names its downloads, `whole` its artefact, empty where it may change."""

    packages: str
    whole: str


class BuildCache:
    """Below `folder`: folders of downloads and notes of artefacts by project; what was used longest ago goes first."""

    def __init__(self, folder: Path, *, most_bytes: int, project_bytes: int) -> None:
        self._folder = folder
        self._most = most_bytes
        self._each = project_bytes
        self._sweeping = asyncio.Lock()
        self._sizes: dict[Path, int] = {}

    def open(self) -> None:
        """Blocking."""
        self._folder.mkdir(mode=0o700, exist_ok=True)

    async def take(self, project: str, key: str, place: Path) -> bool:
        """Move what earlier builds downloaded to `place`, an empty folder where there is nothing; whether there was."""
        return await asyncio.to_thread(self._take, self._kept(project, key), place)

    async def give(self, project: str, key: str, place: Path) -> None:
        """Keep what a build leaves at `place`, instead of what is there under this name."""
        try:
            self._sizes.pop(self._kept(project, key), None)
            await asyncio.to_thread(_give, place, self._kept(project, key))
            async with self._sweeping:
                await asyncio.to_thread(self._sweep)
        except OSError as fault:
            log.warning("build_cache.not_kept", message=str(fault))

    async def artefact(self, project: str, key: str) -> Artefact | None:
        """What an earlier build of the same made."""
        try:
            note = await asyncio.to_thread(self._note(project, key).read_bytes)
            return msgspec.json.decode(note, type=Artefact)
        except (OSError, msgspec.DecodeError):
            return None

    async def keep_artefact(self, project: str, key: str, artefact: Artefact) -> None:
        await asyncio.to_thread(_write, self._note(project, key), msgspec.json.encode(artefact))

    def _kept(self, project: str, key: str) -> Path:
        return self._of(project) / "packages" / key

    def _note(self, project: str, key: str) -> Path:
        return self._of(project) / "artefacts" / key

    def _of(self, project: str) -> Path:
        return self._folder / hashlib.sha256(project.encode()).hexdigest()[:32]

    def _take(self, kept: Path, place: Path) -> bool:
        try:
            kept.rename(place)
        except OSError:
            place.mkdir(mode=0o755)
            return False
        place.chmod(0o755)
        return True

    def _sweep(self) -> None:
        """Remove what was kept longest ago until every project and all together are within their bounds."""
        total = 0
        for project in self._folder.iterdir():
            own = 0
            for kept in _newest_first(project / "packages"):
                if kept not in self._sizes:
                    self._sizes[kept] = folders.disk_bytes(kept)
                size = self._sizes[kept]
                if own + size > self._each or total + size > self._most:
                    folders.remove(kept)
                    self._sizes.pop(kept, None)
                else:
                    own, total = own + size, total + size
            for note in _newest_first(project / "artefacts")[MOST_ARTEFACTS:]:
                note.unlink(missing_ok=True)


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


def _give(place: Path, kept: Path) -> None:
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if next(place.iterdir(), None) is None:
        return
    old = kept.with_name(f".{kept.name}.old")
    folders.remove(old)
    if kept.exists():
        kept.rename(old)
    shutil.move(place, kept)
    folders.remove(old)
    now = time.time()
    os.utime(kept, (now, now))


def _write(note: Path, content: bytes) -> None:
    note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = note.with_suffix(".part")
    part.write_bytes(content)
    part.rename(note)


def _newest_first(folder: Path) -> list[Path]:
    try:
        found = [(path.lstat().st_mtime, path) for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    return [path for _, path in sorted(found, reverse=True)]
