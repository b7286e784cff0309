"""Former releases: their sources lie in `releases` and run with the libraries of this environment."""

import tarfile
from collections.abc import Callable
from pathlib import Path

RELEASES = Path(__file__).parent / "releases"


def newest(releases: Path = RELEASES) -> str:
    """Return the newest version in a folder of releases."""
    versions = [path.name.removesuffix(".tar.xz") for path in releases.glob("*.tar.xz")]
    return max(versions, key=lambda version: [int(number) for number in version.split(".")])


def unpacked(version: str, folder: Path) -> Path:
    """Unpack a version, and return the folder in which `python -m annals` runs it."""
    code = folder / version
    with tarfile.open(RELEASES / f"{version}.tar.xz") as archive:
        archive.extractall(code, filter="data")
    return code


def within(code: Path) -> Callable[[list[str]], list[str]]:
    """Return a wrapper that runs a command in a folder, which Python searches first; its children need PYTHONPATH."""
    return lambda argv: ["env", "-C", str(code), *argv]


def migrations(code: Path) -> int:
    """Return the number of a release's last migration."""
    return max(int(path.name[:4]) for path in (code / "annals" / "store" / "migrations").glob("*.sql"))
