"""The bundled templates, as a git repository in memory."""

import os
from pathlib import Path

from dulwich.object_store import MemoryObjectStore
from dulwich.objects import Blob, Commit, ObjectID, Tree

from annals.domain.origin import ReferenceType
from annals.vcs.errors import RepositoryError
from annals.vcs.git import Fetched
from annals.vcs.references import commit_by_prefix, resolve

FOLDER = Path(__file__).parents[1] / "runtimes" / "templates"
BRANCH = "main"
TAGS = ("1.0.1", "1.1.0")
"""The versions in the catalogue of templates."""

_AUTHOR = b"Annals <templates@annals.invalid>"
_SKIPPED = frozenset({"__pycache__", "node_modules", ".git"})


def open_bundled(kind: ReferenceType, reference: str) -> Fetched:
    """Return a repository made of the bundled files; equal files give an equal commit. Raises RepositoryError."""
    store = MemoryObjectStore()
    commit = _commit(store, FOLDER)
    chosen = resolve(kind, reference, {BRANCH: commit}, dict.fromkeys(TAGS, commit)) or commit_by_prefix(
        reference, [commit]
    )
    if chosen is None:
        raise RepositoryError("reference", f"The repository has no commit {reference}.")
    return Fetched(store, chosen)


def _commit(store: MemoryObjectStore, folder: Path) -> str:
    commit = Commit()
    commit.tree = _tree(store, folder).id
    commit.author = commit.committer = _AUTHOR
    commit.author_time = commit.commit_time = commit.author_timezone = commit.commit_timezone = 0
    commit.message = b"Templates that come with Annals\n"
    store.add_object(commit)
    return commit.id.decode()


def _tree(store: MemoryObjectStore, folder: Path) -> Tree:
    tree = Tree()
    for path in sorted(folder.iterdir()):
        if path.name in _SKIPPED or path.suffix == ".pyc":
            continue
        if path.is_dir():
            made: Tree | Blob = _tree(store, path)
            mode = 0o040000
        else:
            made = Blob.from_string(path.read_bytes())
            mode = 0o100755 if os.access(path, os.X_OK) else 0o100644
        store.add_object(made)
        tree.add(path.name.encode(), mode, ObjectID(made.id))
    store.add_object(tree)
    return tree
