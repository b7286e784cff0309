"""Folders of user code are removed in any shape; those that cannot be removed block nothing."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from annals.executor.isolation import trash
from annals.executor.isolation.folders import OPEN_LEVELS, Unfinished, WalkBounds
from annals.executor.isolation.trash import Trash
from tests.unit.executor.archives import deep


@pytest.fixture
def work() -> Iterator[Path]:
    with TemporaryDirectory(prefix="trash-", dir="/dev/shm") as made:
        yield Path(made)


@pytest.mark.parametrize("levels", [1_500, 20_000])
def test_trees_deeper_than_any_path_are_removed(work: Path, levels: int) -> None:
    deep(work / "tree", levels)
    opened = len(os.listdir("/proc/self/fd"))
    trash.remove(work / "tree")

    assert os.listdir(work) == []
    assert len(os.listdir("/proc/self/fd")) == opened


def test_many_branches_below_the_open_levels_are_removed(work: Path) -> None:
    handle = deep(work / "tree", OPEN_LEVELS + 5, keep_open=True)
    for number in range(50):
        os.mkdir(str(number), dir_fd=handle)
        for below in range(3):
            os.mkdir(f"{number}/{below}", dir_fd=handle)
            os.close(os.open(f"{number}/{below}/file", os.O_CREAT | os.O_WRONLY, dir_fd=handle))
    os.close(handle)
    trash.remove(work / "tree")

    assert os.listdir(work) == []


def test_folders_of_more_folders_than_are_listed_at_a_time_are_removed(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trash, "LISTED", 7)
    for number in range(50):
        (work / "tree" / str(number) / "below").mkdir(parents=True)
        (work / "tree" / str(number) / "file").touch()
    trash.remove(work / "tree")

    assert os.listdir(work) == []


CLOSED = """
import os, pathlib, sys
from annals.executor.isolation import trash
folder = pathlib.Path(sys.argv[1])
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
(folder / "t" / "a" / "b").mkdir(parents=True)
(folder / "t" / "a" / "b" / "file").touch()
(folder / "t" / "link").symlink_to(folder / "outside")
for closed in ("t/a/b", "t/a", "t"):
    (folder / closed).chmod(0)
print(trash.Trash(folder).put(folder / "t"))
"""


def test_folders_that_were_closed_on_purpose_are_removed_by_their_owner_without_root(work: Path) -> None:
    (work / "outside").mkdir()
    (work / "outside" / "kept").touch()
    work.chmod(0o777)
    code = CLOSED + "trash.remove(next((folder / 'trash').iterdir()))\n"
    done = subprocess.run([sys.executable, "-c", code, work], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(work)) == ["outside", "trash"]
    assert os.listdir(work / "trash") == []
    assert (work / "outside" / "kept").exists()


def test_removing_a_missing_folder_is_no_error(tmp_path: Path) -> None:
    trash.remove(tmp_path / "none")
    trash.remove(tmp_path / "none" / "below")
    Trash(tmp_path).remove(tmp_path / "none")


def test_removals_end_in_time_and_go_on_from_there(work: Path) -> None:
    deep(work / "tree", 3_000)
    with pytest.raises(Unfinished):
        trash.remove(work / "tree", WalkBounds(entries=2_500))
    trash.remove(work / "tree", WalkBounds(entries=20_000))

    assert os.listdir(work) == []


def unremovable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Make a file refuse to be removed, as one on a broken disk does."""
    unlink = os.unlink

    def refused(path: str, **others: object) -> None:
        if path == name:
            raise PermissionError(1, "Operation not permitted", path)
        unlink(path, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "unlink", refused)


async def test_folders_that_cannot_be_removed_stay_in_the_trash_until_a_later_attempt(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        (work / name / "sub").mkdir(parents=True)
        (work / name / "sub" / name).touch()
    reported: set[str] = set()
    with monkeypatch.context() as broken:
        unremovable(broken, "first")
        for name in ("first", "second"):
            Trash(work).remove(work / name)
        async with asyncio.timeout(30):
            await Trash(work).empty(reported)
        [left] = os.listdir(work / "trash")
        assert left.startswith("first.")
        assert reported == {left}
        assert os.listdir(work) == ["trash"]
    await Trash(work).empty(reported)

    assert os.listdir(work / "trash") == []


async def test_background_removes_folders_that_take_longer_than_a_slice(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trash, "AT_ONCE", WalkBounds(seconds=-1))
    deep(work / "tree", 2_000)
    Trash(work).remove(work / "tree")
    assert len(os.listdir(work / "trash")) == 1
    async with asyncio.timeout(60):
        await Trash(work).empty(set())

    assert os.listdir(work / "trash") == []


async def test_background_survives_any_failure(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "tree").mkdir()
    Trash(work).put(work / "tree")
    monkeypatch.setattr(trash, "RETRY_SECONDS", 0.01)
    failures = iter([RecursionError(), MemoryError()])
    once = trash.remove

    def failing(folder: Path, bounds: WalkBounds) -> None:
        for failure in failures:
            raise failure
        once(folder, bounds)

    monkeypatch.setattr(trash, "remove", failing)
    running = asyncio.create_task(Trash(work).run())
    async with asyncio.timeout(30):
        while os.listdir(work / "trash"):
            await asyncio.sleep(0.01)
    running.cancel()


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root can give files away.")
def test_trees_that_cannot_change_their_owner_are_replaced_by_empty_ones(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "cache").mkdir()
    for number in range(300):
        (work / "cache" / str(number)).touch()
    monkeypatch.setattr(trash, "HANDED_OVER", WalkBounds(entries=100))
    Trash(work).hand_over(work / "cache", 2_000_000_001)

    assert os.listdir(work / "cache") == []
    assert (work / "cache").stat().st_uid == 2_000_000_001
