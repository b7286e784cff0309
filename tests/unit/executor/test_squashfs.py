"""Squashfs images of builds are read if the host has the tool, with the same checks as other archives."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from annals.executor.archives import decompress
from annals.executor.archives.archive import ArchiveBounds, unpack
from annals.executor.errors import BadArchive

pytestmark = pytest.mark.skipif(
    not (decompress.squashfs_readable() and shutil.which("mksquashfs")),
    reason="needs squashfs-tools and squashfs-tools-ng",
)


def image(folder: Path, *options: str) -> Path:
    """An image of what lies in `folder`."""
    made = folder.with_suffix(".sqfs")
    command = ["mksquashfs", str(folder), str(made), "-comp", "lz4", "-noappend", "-quiet", *options]
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "content"
    (made / "lib").mkdir(parents=True)
    (made / "main.py").write_text("print(1)")
    (made / "lib" / "run").write_text("#!/bin/sh")
    (made / "lib" / "run").chmod(0o755)
    (made / "link").symlink_to("lib/run")
    return made


def test_image_is_unpacked_as_it_was(folder: Path, tmp_path: Path) -> None:
    unpacked = unpack(image(folder), tmp_path / "out", ArchiveBounds(), links=True)

    assert unpacked.files == 3
    assert (tmp_path / "out" / "main.py").read_text() == "print(1)"
    assert os.access(tmp_path / "out" / "lib" / "run", os.X_OK)
    assert (tmp_path / "out" / "link").readlink() == Path("lib/run")


def test_uploaded_squashfs_image_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match="squashfs image"):
        unpack(image(folder), tmp_path / "out", ArchiveBounds())


def test_links_that_lead_outside_and_devices_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "out").symlink_to("../../etc/passwd")
    with pytest.raises(BadArchive, match="leads outside"):
        unpack(image(folder), tmp_path / "out", ArchiveBounds(), links=True)
    (folder / "out").unlink()
    with pytest.raises(BadArchive, match="device"):
        unpack(image(folder, "-p", "null c 666 0 0 1 3"), tmp_path / "out", ArchiveBounds(), links=True)

    assert not (tmp_path / "out").exists()


def test_bomb_runs_into_the_bounds(folder: Path, tmp_path: Path) -> None:
    with (folder / "zeros").open("wb") as file:
        file.truncate(200_000_000)
    with pytest.raises(BadArchive, match="ratio"):
        unpack(image(folder), tmp_path / "out", ArchiveBounds(), links=True)


@pytest.mark.parametrize("keep", [4, 96, 300])
def test_damage_is_refused(folder: Path, tmp_path: Path, keep: int) -> None:
    made = image(folder)
    made.write_bytes(made.read_bytes()[:keep])
    with pytest.raises(BadArchive):
        unpack(made, tmp_path / "out", ArchiveBounds(), links=True)

    assert not (tmp_path / "out").exists()


def test_missing_tool_is_named_in_the_error(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = image(folder)
    monkeypatch.setattr(decompress, "SQUASHFS_TOOL", "no-such-tool")

    assert not decompress.squashfs_readable()
    with pytest.raises(BadArchive, match="squashfs-tools-ng"):
        unpack(made, tmp_path / "out", ArchiveBounds(), links=True)
