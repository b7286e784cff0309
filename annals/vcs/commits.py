"""Commits: their message and author, the files of a folder, and a new commit with more files."""

import stat
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from dulwich.object_store import BaseObjectStore
from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tag, Tree

from annals.vcs.archive import SourceFile, folder_parts, no_folder
from annals.vcs.errors import RepositoryError

T = TypeVar("T")

LONGEST_MESSAGE = 255
_DEEPEST = 64
_MOST_LINKS = 16

AUTHOR = b"Annals <annals@annals.invalid>"
_FOLDER, _FILE, _PROGRAM = 0o040000, 0o100644, 0o100755
_Nested = dict[str, Any]


class Files:
    """The files of a commit's folder. A link is followed inside the repository; a submodule is an empty folder."""

    def __init__(self, store: BaseObjectStore, commit: str, root_directory: str, reference: str) -> None:
        self._store = store
        self._root = _object(store, commit_of(store, commit).tree, Tree)
        self._parts = folder_parts(root_directory)
        folder = self._find(self._parts)
        if folder is None or not stat.S_ISDIR(folder[0]):
            raise no_folder(root_directory, reference)
        self._folder = _object(store, folder[1], Tree)

    def __iter__(self) -> Iterator[SourceFile]:
        yield from self._walk(self._folder, ())

    def _walk(self, tree: Tree, above: tuple[str, ...]) -> Iterator[SourceFile]:
        if len(above) > _DEEPEST:
            raise RepositoryError("too_large", "The repository's folders are nested too deep.")
        for name, mode, sha in tree.items():
            path = (*above, _text(name))
            if stat.S_ISDIR(mode):
                yield from self._walk(_object(self._store, sha, Tree), path)
            elif stat.S_ISLNK(mode):
                yield SourceFile("/".join(path), False, self._linked(sha, (*self._parts, *path)))
            elif stat.S_ISREG(mode):
                data = _object(self._store, sha, Blob).as_raw_string()
                yield SourceFile("/".join(path), bool(mode & 0o100), data)

    def _linked(self, sha: ObjectID, link: tuple[str, ...]) -> bytes:
        shown = "/".join(link)[:200]
        path = link
        for _ in range(_MOST_LINKS):
            target = _text(_object(self._store, sha, Blob).as_raw_string())
            path = () if target.startswith("/") else path[:-1]
            for part in target.split("/"):
                path = path[:-1] if part == ".." and path else (*path, part) if part not in {"", "."} else path
            found = None if target.startswith("/") else self._find(path)
            if found is None:
                break
            mode, sha = found
            if stat.S_ISREG(mode):
                return _object(self._store, sha, Blob).as_raw_string()
            if not stat.S_ISLNK(mode):
                break
        raise RepositoryError("folder", f"The repository holds a link to a file that it lacks: {shown!r}.")

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
    """Return a commit by its id, or by the id of a tag of it. Raises RepositoryError."""
    found = store[ObjectID(commit.encode())]
    for _ in range(_MOST_LINKS):
        if not isinstance(found, Tag):
            break
        found = store[found.object[1]]
    if not isinstance(found, Commit):
        raise RepositoryError("reference", f"{commit} is not a commit.")
    return found


def author_of(commit: Commit) -> str:
    """Return the author's name without the e-mail address."""
    return _text(commit.author).partition(" <")[0].strip()


def message_of(commit: Commit) -> str:
    """Return the first characters of the message."""
    return _text(commit.message).strip()[:LONGEST_MESSAGE]


def commit_files(
    store: BaseObjectStore,
    parent: str,
    root_directory: str,
    entries: Iterable[SourceFile],
    *,
    message: str,
    now: int,
    author: bytes = AUTHOR,
) -> tuple[str, list[ShaFile]]:
    """Return a commit with these files below a folder, and its new objects. No change: the parent, and no objects.

    Other files of the parent stay; without a parent the commit is the first one. The new objects are also added to the
    store. Raises RepositoryError.
    """
    nested: _Nested = {}
    for entry in entries:
        *folders, name = (*folder_parts(root_directory), *entry.path.split("/"))
        here = nested
        for folder in folders:
            here = here.setdefault(folder, {})
        here[name] = entry
    former = commit_of(store, parent) if parent else None
    made: list[ShaFile] = []
    tree = _merged(store, former.tree if former else None, nested, made)
    if former and tree == former.tree:
        return parent, []
    commit = Commit()
    commit.tree = tree
    commit.parents = [former.id] if former else []
    commit.author = commit.committer = author
    commit.author_time = commit.commit_time = now
    commit.author_timezone = commit.commit_timezone = 0
    commit.message = message.encode()
    made.append(commit)
    for new in made:
        store.add_object(new)
    return commit.id.decode(), made


def _merged(store: BaseObjectStore, former: ObjectID | None, files: _Nested, made: list[ShaFile]) -> ObjectID:
    """Return the id of a folder's tree with files added; new objects are appended to `made`."""
    found = store[former] if former is not None else None
    there = {name: (mode, sha) for name, mode, sha in found.items()} if isinstance(found, Tree) else {}
    tree = Tree()
    for key, (mode, sha) in there.items():
        tree.add(key, mode, sha)
    for name, file in files.items():
        key = name.encode()
        mode, former_sha = there.get(key, (_FOLDER, None))
        if isinstance(file, SourceFile):
            blob = Blob.from_string(file.data)
            made.append(blob)
            tree.add(key, _PROGRAM if file.executable else _FILE, blob.id)
        elif mode != _FOLDER:
            raise RepositoryError("folder", f"The repository has a file where the template has a folder: {name!r}.")
        else:
            tree.add(key, _FOLDER, _merged(store, former_sha, file, made))
    made.append(tree)
    return tree.id


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _object(store: BaseObjectStore, sha: ObjectID, kind: type[T]) -> T:
    found = store[sha]
    if not isinstance(found, kind):
        raise RepositoryError("failed", f"The repository is broken: {sha.decode()} is no {kind.__name__.lower()}.")
    return found
