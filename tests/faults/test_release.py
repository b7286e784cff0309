"""The release that an upgrade begins with."""

from pathlib import Path

from tests.faults import release


def test_newest_release_is_that_of_the_highest_numbers(tmp_path: Path) -> None:
    for version in ("0.9.1", "0.10.0", "0.2.11"):
        (tmp_path / f"{version}.tar.xz").touch()

    assert release.newest(tmp_path) == "0.10.0"
