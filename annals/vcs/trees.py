"""Reading a commit: what it says of itself, and the files of a folder of it."""

import stat
from collections.abc import Iterator
from typing import TypeVar

from dulwich.object_store import BaseObjectStore
from dulwich.objects import Blob, Commit, ObjectID, Tag, Tree

from annals.vcs.archive import Entry, folder_parts, no_folder
from annals.vcs.errors import RepositoryError

T = TypeVar("T")

LONGEST_MESSAGE = 255
_DEEPEST = 64
_MOST_LINKS = 16


class Files:
    """A folder of a commit. A link is followed to a file of the same repository; a submodule is an empty folder."""

    def __init__(self, store: BaseObjectStore, commit: str, root_directory: str, reference: str) -> None:
        self._store = store
        self._root = _object(store, commit_of(store, commit).tree, Tree)
        self._parts = folder_parts(root_directory)
        folder = self._find(self._parts)
        if folder is None or not stat.S_ISDIR(folder[0]):
            raise no_folder(root_directory, reference)
        self._folder = _object(store, folder[1], Tree)

    def __iter__(self) -> Iterator[Entry]:
        yield from self._walk(self._folder, ())

    def _walk(self, tree: Tree, above: tuple[str, ...]) -> Iterator[Entry]:
        if len(above) > _DEEPEST:
            raise RepositoryError("too_large", "The repository's folders are nested too deep.")
        for name, mode, sha in tree.items():
            path = (*above, _text(name))
            if stat.S_ISDIR(mode):
                yield from self._walk(_object(self._store, sha, Tree), path)
            elif stat.S_ISLNK(mode):
                yield Entry("/".join(path), False, self._linked(sha, (*self._parts, *path)))
            elif stat.S_ISREG(mode):
                data = _object(self._store, sha, Blob).as_raw_string()
                yield Entry("/".join(path), bool(mode & 0o100), data)

    def _linked(self, sha: ObjectID, link: tuple[str, ...]) -> bytes:
        shown, where = "/".join(link)[:200], link
        for _ in range(_MOST_LINKS):
            target = _text(_object(self._store, sha, Blob).as_raw_string())
            where = () if target.startswith("/") else where[:-1]
            for part in target.split("/"):
                where = where[:-1] if part == ".." and where else (*where, part) if part not in {"", "."} else where
            found = None if target.startswith("/") else self._find(where)
            if found is None:
                break
            mode, sha = found
            if stat.S_ISREG(mode):
                return _object(self._store, sha, Blob).as_raw_string()
            if not stat.S_ISLNK(mode):
                break
        raise RepositoryError("folder", f"The repository holds a link that leads to none of its files: {shown!r}.")

    def _find(self, parts: tuple[str, ...]) -> tuple[int, ObjectID] | None:
        mode, sha = stat.S_IFDIR, self._root.id
        for part in parts:
            if not stat.S_ISDIR(mode):
                return None
            tree = _object(self._store, sha, Tree)
            if part.encode() not in tree:
                return None
            mode, sha = tree[part.encode()]
        return mode, sha


def commit_of(store: BaseObjectStore, commit: str) -> Commit:
    """A commit by its id, or by that of a tag of it. Raises RepositoryError."""
    found = store[ObjectID(commit.encode())]
    for _ in range(_MOST_LINKS):
        if not isinstance(found, Tag):
            break
        found = store[found.object[1]]
    if not isinstance(found, Commit):
        raise RepositoryError("reference", f"{commit} is no commit.")
    return found


def author_of(commit: Commit) -> str:
    """The author's name, without the address behind it."""
    return _text(commit.author).partition(" <")[0].strip()


def message_of(commit: Commit) -> str:
    return _text(commit.message).strip()[:LONGEST_MESSAGE]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _object(store: BaseObjectStore, sha: ObjectID, kind: type[T]) -> T:
    found = store[sha]
    if not isinstance(found, kind):
        raise RepositoryError("failed", f"The repository is broken: {sha.decode()} is no {kind.__name__.lower()}.")
    return found
