"""A folder of a repository as an archive: equal bytes each time, within bounds, no path that leaves the folder."""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from dulwich.object_store import MemoryObjectStore
from dulwich.objects import Blob, Commit, ObjectID, Tree

from annals.vcs.archive import SourceFile, pack, unpack_tarball
from annals.vcs.commits import Files, author_of, message_of
from annals.vcs.errors import RepositoryError
from annals.vcs.git import open_bundled
from annals.vcs.jobs import FetchBounds

LINK, FILE, PROGRAM, FOLDER, SUBMODULE = 0o120000, 0o100644, 0o100755, 0o040000, 0o160000


class Repository:
    """A repository in memory, made of (mode, content) by path."""

    def __init__(self, files: dict[str, tuple[int, bytes]]) -> None:
        self.store = MemoryObjectStore()
        commit = Commit()
        commit.tree = self._tree(files).id
        commit.author = commit.committer = b"Ada <ada@example.org>"
        commit.author_time = commit.commit_time = commit.author_timezone = commit.commit_timezone = 0
        commit.message = b"First\n" + b"x" * 400
        self.store.add_object(commit)
        self.commit = commit

    def _tree(self, files: dict[str, tuple[int, bytes]]) -> Tree:
        tree = Tree()
        below: dict[str, dict[str, tuple[int, bytes]]] = {}
        for path, (mode, content) in files.items():
            first, _, rest = path.partition("/")
            if rest:
                below.setdefault(first, {})[rest] = (mode, content)
            elif mode == SUBMODULE:
                tree.add(first.encode(), mode, ObjectID(content))
            else:
                blob = Blob.from_string(content)
                self.store.add_object(blob)
                tree.add(first.encode(), mode, blob.id)
        for name, inside in below.items():
            tree.add(name.encode(), FOLDER, self._tree(inside).id)
        self.store.add_object(tree)
        return tree

    def files(self, root: str = "") -> dict[str, SourceFile]:
        return {entry.path: entry for entry in Files(self.store, self.commit.id.decode(), root, "main")}


def test_folder_is_read_with_modes_and_without_submodules() -> None:
    repository = Repository(
        {
            "a/main.js": (FILE, b"1"),
            "a/run.sh": (PROGRAM, b"2"),
            "a/lib/x.js": (FILE, b"3"),
            "b/y": (FILE, b"4"),
            "a/dep": (SUBMODULE, b"1" * 40),
        }
    )

    assert repository.files("a") == {
        "main.js": SourceFile("main.js", False, b"1"),
        "run.sh": SourceFile("run.sh", True, b"2"),
        "lib/x.js": SourceFile("lib/x.js", False, b"3"),
    }
    assert repository.files("./a/lib/") == {"x.js": SourceFile("x.js", False, b"3")}
    assert len(repository.files("/")) == 4


@pytest.mark.parametrize("root", ["c", "a/main.js", "a/../b", "..", "a\\lib", "a/lib/none"])
def test_folder_that_is_not_there_is_refused(root: str) -> None:
    with pytest.raises(RepositoryError) as refused:
        Repository({"a/main.js": (FILE, b"1"), "a/lib/x": (FILE, b"1")}).files(root)
    assert refused.value.kind == "folder"


def test_links_are_followed_within_the_repository() -> None:
    repository = Repository(
        {"shared/x.js": (FILE, b"x"), "a/x.js": (LINK, b"../shared/x.js"), "a/again.js": (LINK, b"x.js")}
    )

    assert {path: entry.data for path, entry in repository.files("a").items()} == {"x.js": b"x", "again.js": b"x"}


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../../etc/passwd", b"none", b"../a", b"x.js"])
def test_links_elsewhere_are_refused(target: bytes) -> None:
    with pytest.raises(RepositoryError, match="a file that it lacks"):
        Repository({"a/x.js": (LINK, target)}).files("a")


def test_commit_has_author_and_shortened_message() -> None:
    commit = Repository({"a": (FILE, b"")}).commit

    assert author_of(commit) == "Ada"
    assert message_of(commit).startswith("First\nxxx")
    assert len(message_of(commit)) == 255


def test_equal_files_make_equal_archives_of_plain_members(tmp_path: Path) -> None:
    entries = [SourceFile("main.js", False, b"1"), SourceFile("bin/run", True, b"2" * 5000)]
    digests = set()
    for name in ("one", "two"):
        assert pack(entries, tmp_path / name, FetchBounds()) == 2
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())

    assert len(digests) == 1
    with tarfile.open(tmp_path / "one") as tar:
        assert [(m.name, m.mode, m.size, m.uid, m.mtime) for m in tar] == [
            ("main.js", 0o644, 1, 0, 0),
            ("bin/run", 0o755, 5000, 0, 0),
        ]


@pytest.mark.parametrize(
    "path", ["../a", "a/../b", ".git/config", "a/.GIT/x", "a//b", "/a", "a\\b", "x/" * 70 + "y", "n" * 2000]
)
def test_forbidden_file_names_are_rejected(tmp_path: Path, path: str) -> None:
    with pytest.raises(RepositoryError):
        pack([SourceFile(path, False, b"")], tmp_path / "a", FetchBounds())


def test_source_beyond_a_bound_is_refused(tmp_path: Path) -> None:
    noise = bytes(hashlib.sha256(str(n).encode()).digest()[0] for n in range(20_000))
    for bounds in (FetchBounds(files=1), FetchBounds(unpacked_bytes=100), FetchBounds(archive_bytes=500)):
        with pytest.raises(RepositoryError) as refused:
            pack([SourceFile("a", False, noise), SourceFile("b", False, noise)], tmp_path / "a", bounds)
        assert refused.value.kind == "too_large"
    with pytest.raises(RepositoryError, match="no file"):
        pack([], tmp_path / "a", FetchBounds())


def _tarball(files: dict[str, bytes], link: str = "") -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"owner-name-abc/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        if link:
            member = tarfile.TarInfo(f"owner-name-abc/{link}")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(member)
    buffer.seek(0)
    return buffer


def test_hosts_archive_is_read_by_folder() -> None:
    ball = _tarball({"a/main.js": b"1", "a/lib/x": b"2", "b/y": b"3"})

    found = list(unpack_tarball(ball, "a", "main", FetchBounds()))

    assert [(entry.path, entry.data) for entry in found] == [("main.js", b"1"), ("lib/x", b"2")]


def test_damaged_or_hostile_host_archive_is_rejected() -> None:
    for ball, root, bounds in (
        (_tarball({"a/x": b"1"}), "c", FetchBounds()),
        (_tarball({"a/x": b"1"}, link="a/l"), "a", FetchBounds()),
        (_tarball({"a/x": b"1" * 5000}), "a", FetchBounds(unpacked_bytes=1000)),
        (io.BytesIO(b"nothing"), "a", FetchBounds()),
        (io.BytesIO(gzip.compress(b"x" * 100)), "a", FetchBounds()),
    ):
        with pytest.raises(RepositoryError):
            list(unpack_tarball(ball, root, "main", bounds))


def test_bundled_repository_has_the_versions_that_the_catalogue_names() -> None:
    main = open_bundled("branch", "main")
    tag = open_bundled("tag", "1.*")

    assert tag.chosen.name == "1.1.0"
    assert tag.chosen.commit == main.chosen.commit
    assert open_bundled("commit", main.chosen.commit[:10]).chosen.commit == main.chosen.commit
    paths = {entry.path for entry in Files(main.store, main.chosen.commit, "node/starter", "main")}
    assert paths == {"README.md", "package.json", "src/main.js"}
    for kind, reference in (("branch", "other"), ("tag", "9.*"), ("commit", "f" * 40)):
        with pytest.raises(RepositoryError):
            open_bundled(kind, reference)  # type: ignore[arg-type]
