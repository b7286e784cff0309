"""A former release as it was: its source lies in `releases`, and runs with this environment's libraries."""

import tarfile
from collections.abc import Callable
from pathlib import Path

RELEASES = Path(__file__).parent / "releases"


def newest(releases: Path = RELEASES) -> str:
    """The version before this one."""
    versions = [path.name.removesuffix(".tar.xz") for path in releases.glob("*.tar.xz")]
    return max(versions, key=lambda version: [int(number) for number in version.split(".")])


def unpacked(version: str, folder: Path) -> Path:
    """A folder in which `python -m annals` is that version."""
    place = folder / version
    with tarfile.open(RELEASES / f"{version}.tar.xz") as archive:
        archive.extractall(place, filter="data")
    return place


def within(place: Path) -> Callable[[list[str]], list[str]]:
    """A command as it is run in a folder, where Python looks for modules first; its children need PYTHONPATH."""
    return lambda argv: ["env", "-C", str(place), *argv]


def migrations(place: Path) -> int:
    """The number of the last migration that a release has."""
    return max(int(path.name[:4]) for path in (place / "annals" / "store" / "migrations").glob("*.sql"))
