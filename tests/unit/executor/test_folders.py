"""Folders that user code wrote are measured, searched and removed without being trusted."""

import os
from pathlib import Path

import pytest

from annals.executor import folders


def test_folders_that_were_closed_on_purpose_are_removed_whole(tmp_path: Path) -> None:
    target, outside = tmp_path / "t", tmp_path / "outside"
    (target / "a" / "b").mkdir(parents=True)
    (target / "a" / "b" / "file").touch()
    outside.mkdir()
    (outside / "kept").touch()
    (target / "link").symlink_to(outside)
    for folder in (target / "a" / "b", target / "a"):
        folder.chmod(0)
    folders.remove(target)

    assert not target.exists()
    assert (outside / "kept").exists()


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    folders.remove(tmp_path / "none")


def test_disk_space_is_told_from_what_a_sparse_file_claims(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    with (tmp_path / "sub" / "sparse").open("wb") as file:
        file.truncate(50_000_000)

    assert folders.disk_bytes(tmp_path) < 1_000_000
    assert folders.disk_bytes(tmp_path, claimed=True) == 50_000_000


def test_links_are_not_followed_when_measuring(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)

    assert folders.disk_bytes(tmp_path) < 100_000


@pytest.mark.parametrize(
    ("name", "there"),
    [
        *(("a/main.py", True), ("./a/main.py", True), ("a", True)),
        *(("b", False), ("a/../a/main.py", False), ("", False), ("..", False)),
        *(("/etc/passwd", False), ("link/passwd", False), ("a/main.py/x", False)),
    ],
)
def test_names_are_found_inside_only(tmp_path: Path, name: str, there: bool) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "main.py").touch()
    (tmp_path / "link").symlink_to("/etc")

    assert folders.holds(tmp_path, name) is there


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    fd = folders.open_regular(tmp_path, "file")
    os.close(fd)

    for name in ("link", "folder", "pipe", "none"):
        with pytest.raises(OSError):  # noqa: PT011 several kinds, all refused
            folders.open_regular(tmp_path, name)
