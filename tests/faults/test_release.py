"""The choice of the release that the upgrade tests start from."""

from pathlib import Path

from tests.faults import release


def test_newest_release_has_the_highest_version(tmp_path: Path) -> None:
    for version in ("0.9.1", "0.10.0", "0.2.11"):
        (tmp_path / f"{version}.tar.xz").touch()

    assert release.newest(tmp_path) == "0.10.0"
