"""Adding files to a repository: a commit on top of its branch, with only what is new to be sent."""

from collections.abc import Iterable
from typing import Any

from dulwich.object_store import BaseObjectStore
from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tree

from annals.vcs.archive import Entry, folder_parts
from annals.vcs.errors import RepositoryError
from annals.vcs.trees import commit_of

AUTHOR = b"Annals <annals@annals.invalid>"
_FOLDER, _FILE, _PROGRAM = 0o040000, 0o100644, 0o100755
_Nested = dict[str, Any]


def with_files(
    store: BaseObjectStore, parent: str, root_directory: str, entries: Iterable[Entry], *, message: str, now: int
) -> tuple[str, list[ShaFile]]:
    """A commit with these files below a folder, and the objects it adds; the parent itself when all are there already.

    Files of the parent that are not among them stay. The objects are in the store as well. Raises RepositoryError.
    """
    nested: _Nested = {}
    for entry in entries:
        *folders, name = (*folder_parts(root_directory), *entry.path.split("/"))
        here = nested
        for folder in folders:
            here = here.setdefault(folder, {})
        here[name] = entry
    former = commit_of(store, parent)
    made: list[ShaFile] = []
    tree = _merged(store, former.tree, nested, made)
    if tree == former.tree:
        return parent, []
    commit = Commit()
    commit.tree, commit.parents = tree, [former.id]
    commit.author = commit.committer = AUTHOR
    commit.author_time = commit.commit_time = now
    commit.author_timezone = commit.commit_timezone = 0
    commit.message = message.encode()
    made.append(commit)
    for one in made:
        store.add_object(one)
    return commit.id.decode(), made


def _merged(store: BaseObjectStore, former: ObjectID | None, files: _Nested, made: list[ShaFile]) -> ObjectID:
    """The tree of a folder with files added; `made` gets what is new."""
    found = store[former] if former is not None else None
    there = {name: (mode, sha) for name, mode, sha in found.items()} if isinstance(found, Tree) else {}
    tree = Tree()
    for key, (mode, sha) in there.items():
        tree.add(key, mode, sha)
    for name, what in files.items():
        key = name.encode()
        mode, former_sha = there.get(key, (_FOLDER, None))
        if isinstance(what, Entry):
            blob = Blob.from_string(what.data)
            made.append(blob)
            tree.add(key, _PROGRAM if what.executable else _FILE, blob.id)
        elif mode != _FOLDER:
            raise RepositoryError("folder", f"The repository has a file where the template has a folder: {name!r}.")
        else:
            tree.add(key, _FOLDER, _merged(store, former_sha, what, made))
    made.append(tree)
    return tree.id
