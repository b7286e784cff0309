"""Folders that user code wrote are walked, measured and searched without trust in their content."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from annals.executor.isolation import folders, trash
from tests.unit.executor.archives import deep


def test_sparse_files_claim_more_than_they_occupy(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    with (tmp_path / "sub" / "sparse").open("wb") as file:
        file.truncate(50_000_000)

    size = folders.size(tmp_path)

    assert size.occupied < 1_000_000
    assert size.claimed == 50_000_000
    assert size.whole


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder where making many folders takes no disk."""
    with TemporaryDirectory(prefix="folders-", dir="/dev/shm") as made:
        yield Path(made)
        trash.remove(Path(made) / "tree")


@pytest.mark.parametrize("levels", [1_500, 20_000])
def test_trees_deeper_than_any_path_are_measured_with_few_descriptors(memory: Path, levels: int) -> None:
    deep(memory / "tree", levels, content=b"x" * 10)
    opened = len(os.listdir("/proc/self/fd"))
    most = 0
    walk = folders.Walk(memory / "tree")
    for number, _ in enumerate(walk):
        if number % 1_000 == 0:
            most = max(most, len(os.listdir("/proc/self/fd")))
    size = folders.size(memory / "tree")

    assert (size.entries, size.claimed, size.whole) == (levels + 1, 10, True)
    assert opened < most <= opened + folders.OPEN_LEVELS + 5
    assert len(os.listdir("/proc/self/fd")) == opened


def test_walks_end_at_their_bounds(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / str(number)).touch()

    assert folders.size(tmp_path, folders.WalkBounds(entries=100)).whole is False
    assert folders.size(tmp_path, folders.WalkBounds(entries=100)).entries == 99
    assert folders.size(tmp_path, folders.WalkBounds(seconds=-1)).whole is False
    with pytest.raises(folders.Unfinished):
        folders.own(tmp_path, os.getuid(), folders.WalkBounds(entries=100))


def test_walks_never_return_into_folders_that_were_moved_elsewhere(memory: Path) -> None:
    deep(memory / "tree", folders.OPEN_LEVELS * 2)
    (memory / "outside").mkdir()
    (memory / "outside" / "secret").touch()
    lowest = memory / "tree" / "/".join("d" * folders.OPEN_LEVELS)
    walk = folders.Walk(memory / "tree")
    seen: list[str] = []

    def look() -> None:
        for _, entry in walk:
            seen.append(entry.name)
            if walk.depth == folders.OPEN_LEVELS * 2 - 1:
                (lowest / "d").rename(memory / "outside" / "d")

    with pytest.raises(folders.Unfinished):
        look()
    assert "secret" not in seen


def test_parts_that_cannot_be_read_make_a_size_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "file").write_bytes(b"x")
    opened = os.open

    def refused(name: str, *arguments: object, **others: object) -> int:
        if name == "closed":
            raise PermissionError(name)
        return opened(name, *arguments, **others)  # type: ignore[arg-type]

    assert folders.size(tmp_path).whole
    monkeypatch.setattr(os, "open", refused)
    assert not folders.size(tmp_path).whole


def test_missing_folders_have_no_size(tmp_path: Path) -> None:
    assert folders.size(tmp_path / "none") == (0, 0, 0, True)


def test_files_of_several_names_occupy_their_space_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x" * 100_000)
    alone = folders.size(tmp_path).occupied
    for number in range(5):
        os.link(tmp_path / "one", tmp_path / str(number))

    assert folders.size(tmp_path).occupied == alone
    assert folders.size(tmp_path).claimed == 600_000


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root can give files away.")
def test_deep_trees_are_given_away_whole_and_links_are_not_followed(memory: Path) -> None:
    handle = deep(memory / "tree", 1_500, keep_open=True)
    (memory / "outside").touch()
    (memory / "tree" / "link").symlink_to(memory / "outside")
    folders.own(memory / "tree", 2_000_000_001)

    assert os.fstat(handle).st_uid == 2_000_000_001
    assert (memory / "tree" / "link").lstat().st_uid == 2_000_000_001
    assert (memory / "outside").stat().st_uid == 0
    os.close(handle)


def test_links_are_not_followed_when_measuring(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)

    size = folders.size(tmp_path)

    assert (size.claimed, size.entries, size.whole) == (len(str(tmp_path)), 1, True)


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
