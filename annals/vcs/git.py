"""Repositories over git's own protocols: read references, fetch one commit, push one commit; and the bundled one.

One file because each kind of repository yields a commit with its files in the same way.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import urllib3
from dulwich.client import GitClient, HttpGitClient, HTTPUnauthorized, SSHGitClient
from dulwich.errors import (
    GitProtocolError,
    HangupException,
    NotGitRepository,
    ObjectMissing,
)
from dulwich.object_store import BaseObjectStore, MemoryObjectStore
from dulwich.objects import ObjectID, ShaFile
from dulwich.pack import pack_objects_to_data
from dulwich.refs import Ref
from dulwich.repo import Repo

from annals.domain.origin import ReferenceType
from annals.vcs.archive import SourceFile
from annals.vcs.commits import commit_files, commit_of
from annals.vcs.errors import RepositoryError
from annals.vcs.guard import WAIT_SECONDS, OneHost
from annals.vcs.jobs import FetchBounds, Git
from annals.vcs.references import ResolvedReference, commit_by_prefix, resolve
from annals.vcs.ssh import GuardedVendor
from annals.vcs.urls import RepositoryUrl, parse_url

TEMPLATES = Path(__file__).parents[1] / "runtimes" / "templates"
BRANCH = "main"
TAGS = ("1.0.1", "1.1.0")
"""The versions in the catalogue of templates."""

_TEMPLATES_AUTHOR = b"Annals <templates@annals.invalid>"
_SKIPPED = frozenset({"__pycache__", "node_modules", ".git"})
_SHA = re.compile(r"[0-9a-f]{40}")
_PEELED = "^{}"


class Fetched(NamedTuple):
    """A store with a commit and all its files."""

    store: BaseObjectStore
    chosen: ResolvedReference


class References(NamedTuple):
    """The commits of a repository's branches and tags; annotated tags are resolved.

    `advertised` has for each commit the object id to ask for: a host need not send objects without a reference.
    """

    branches: Mapping[str, str]
    tags: Mapping[str, str]
    advertised: Mapping[str, str]


def fetch(
    location: Git,
    kind: ReferenceType,
    reference: str,
    *,
    folder: Path,
    bounds: FetchBounds,
    allowed_hosts: tuple[str, ...],
) -> Fetched:
    """Fetch a commit into `folder`. Raises RepositoryError."""
    address = parse_url(location.url, trusted=location.trusted, http_hosts=allowed_hosts)
    if address.scheme == "file":
        return _open_folder(Path(address.path), kind, reference)
    client = _client(location, address)
    path = address.path.encode()
    with _transport_errors(address):
        found = _references(_refs(client, path))
        chosen = resolve(kind, reference, found.branches, found.tags)
        store = Repo.init_bare(str(folder / "repository"), mkdir=True).object_store
        if chosen is not None:
            _transfer(client, path, store, [found.advertised[chosen.commit]], bounds, depth=1)
        else:
            tips = sorted(set(found.advertised.values()))
            chosen = _fetch_unadvertised(client, path, store, reference.lower(), bounds=bounds, tips=tips)
    return Fetched(store, ResolvedReference(chosen.name, commit_of(store, chosen.commit).id.decode()))


def open_bundled(kind: ReferenceType, reference: str) -> Fetched:
    """Return a repository made of the bundled templates; equal files give an equal commit. Raises RepositoryError."""
    store = MemoryObjectStore()
    message = "Templates that come with Annals\n"
    commit, _ = commit_files(store, "", "", _templates(), message=message, now=0, author=_TEMPLATES_AUTHOR)
    chosen = resolve(kind, reference, {BRANCH: commit}, dict.fromkeys(TAGS, commit)) or commit_by_prefix(
        reference, [commit]
    )
    if chosen is None:
        raise RepositoryError("reference", f"The repository has no commit {reference}.")
    return Fetched(store, chosen)


def _templates() -> Iterator[SourceFile]:
    for path in sorted(TEMPLATES.rglob("*")):
        inner = path.relative_to(TEMPLATES)
        if path.is_file() and path.suffix != ".pyc" and _SKIPPED.isdisjoint(inner.parts):
            yield SourceFile(inner.as_posix(), os.access(path, os.X_OK), path.read_bytes())


def push(
    location: Git, branch: str, parent: str, commit: str, objects: Sequence[ShaFile], *, allowed_hosts: tuple[str, ...]
) -> None:
    """Move a branch from `parent` to `commit` and send the objects. Raises RepositoryError if the branch has moved."""
    address = parse_url(location.url, trusted=location.trusted, http_hosts=allowed_hosts)
    name, old, new = (text.encode() for text in (f"refs/heads/{branch}", parent, commit))
    moved = RepositoryError(
        "reference", f"The branch {branch!r} changed while the template was committed. Deploy again."
    )
    if address.scheme == "file":
        repo = Repo(address.path)
        if not repo.bare:
            raise RepositoryError("forbidden", "A template can't be committed to a repository with a work tree.")
        repo.object_store.add_objects([(one, None) for one in objects])
        if not repo.refs.set_if_equals(Ref(name), ObjectID(old), ObjectID(new)):
            raise moved
        return

    def update(refs: dict[Ref, ObjectID]) -> dict[Ref, ObjectID]:
        if refs.get(Ref(name)) != old:
            raise moved
        return {Ref(name): ObjectID(new)}

    def pack(have: object, want: object, **_: Any) -> Any:  # noqa: ARG001 (dulwich's names)
        return pack_objects_to_data([(one, None) for one in objects])

    with _transport_errors(address):
        result = _client(location, address).send_pack(address.path.encode(), update, pack)
    refused = (result.ref_status or {}).get(name)
    if refused:
        raise RepositoryError("forbidden", f"The host rejected the commit of the template: {refused}"[:300])


def _fetch_unadvertised(
    client: GitClient, path: bytes, store: BaseObjectStore, wanted: str, *, bounds: FetchBounds, tips: list[str]
) -> ResolvedReference:
    """Fetch a commit that no reference names: by its full id if the host allows that, else with the whole history."""
    if _SHA.fullmatch(wanted):
        try:
            _transfer(client, path, store, [wanted], bounds, depth=1)
            return ResolvedReference(wanted, wanted)
        except (GitProtocolError, HangupException, ObjectMissing):
            pass  # the host sends referenced commits only
    _transfer(client, path, store, tips, bounds, depth=None)
    chosen = commit_by_prefix(wanted, (sha.decode() for sha in store if store[sha].type_name == b"commit"))
    if chosen is None:
        raise RepositoryError("reference", f"The repository has no commit {wanted}.")
    return chosen


def _transfer(
    client: GitClient, path: bytes, store: BaseObjectStore, wanted: list[str], bounds: FetchBounds, *, depth: int | None
) -> None:
    file, commit, abort = store.add_pack()  # type: ignore[attr-defined]
    received = 0

    def keep(data: bytes) -> int:
        nonlocal received
        received += len(data)
        if received > bounds.transfer_bytes:
            raise RepositoryError("too_large", f"The repository sends more than {bounds.transfer_bytes:,} bytes.")
        file.write(data)
        return len(data)

    wants = [ObjectID(sha.encode()) for sha in wanted]

    def choose_wants(refs: object, depth: int | None = None) -> list[ObjectID]:  # noqa: ARG001 (dulwich names both)
        return wants

    try:
        client.fetch_pack(path, choose_wants, _Nothing(), keep, depth=depth)
    except BaseException:
        abort()
        raise
    if not received:
        abort()
        raise ObjectMissing(wants[0])
    commit()
    if wants[0] not in store:
        raise ObjectMissing(wants[0])


class _Nothing:
    """A graph walker that has no commit to offer."""

    shallow: frozenset[ObjectID] = frozenset()

    def __next__(self) -> None:
        return None

    next = __next__

    def ack(self, sha: ObjectID) -> None:
        """Ignore the answer: no commit was offered."""

    def nak(self) -> None:
        """Ignore the answer: no commit was offered."""


def _client(location: Git, address: RepositoryUrl) -> GitClient:
    if address.scheme == "ssh":
        vendor = GuardedVendor(location, timeout=WAIT_SECONDS)
        user = address.user or location.username or "git"
        return SSHGitClient(address.host, port=address.port, username=user, vendor=vendor, quiet=True)
    return HttpGitClient(
        address.base,
        pool_manager=OneHost(urlsplit(address.base).netloc),
        username=location.username or ("git" if location.password else None),
        password=location.password or None,
        quiet=True,
    )


def _refs(client: GitClient, path: bytes) -> dict[str, str]:
    refs = client.get_refs(path).refs
    return {name.decode("utf-8", "replace"): sha.decode() for name, sha in refs.items() if sha is not None}


def _references(refs: Mapping[str, str]) -> References:
    def below(prefix: str) -> dict[str, str]:
        return {
            name.removeprefix(prefix): refs.get(name + _PEELED, sha)
            for name, sha in refs.items()
            if name.startswith(prefix) and not name.endswith(_PEELED)
        }

    branches, tags = below("refs/heads/"), below("refs/tags/")
    advertised = {commit: refs[f"refs/tags/{name}"] for name, commit in tags.items()}
    return References(branches, tags, advertised | {commit: commit for commit in branches.values()})


def _open_folder(path: Path, kind: ReferenceType, reference: str) -> Fetched:
    """Open a repository on this machine's disk, without a copy."""
    try:
        repo = Repo(str(path))
    except (NotGitRepository, OSError):
        raise RepositoryError("repository", "The folder of this repository holds no git repository.") from None
    store = repo.object_store
    refs = {name.decode("utf-8", "replace"): _peeled(store, sha) for name, sha in repo.get_refs().items()}
    found = _references({name: commit for name, commit in refs.items() if commit})
    chosen = resolve(kind, reference, found.branches, found.tags)
    if chosen is None:
        wanted = reference.lower()
        chosen = commit_by_prefix(wanted, (sha.decode() for sha in store if store[sha].type_name == b"commit"))
    if chosen is None:
        raise RepositoryError("reference", f"The repository has no commit {reference}.")
    return Fetched(store, chosen)


def _peeled(store: BaseObjectStore, sha: ObjectID) -> str:
    """Return the commit of a reference; empty if the reference names another kind of object."""
    try:
        return commit_of(store, sha.decode()).id.decode()
    except (RepositoryError, KeyError):
        return ""


@contextmanager
def _transport_errors(address: RepositoryUrl) -> Iterator[None]:
    """Turn exceptions of a transport into RepositoryError."""
    try:
        yield
    except NotGitRepository:
        raise RepositoryError("repository", f"There is no repository {address.path} at {address.host}.") from None
    except HTTPUnauthorized:
        raise RepositoryError(
            "forbidden", f"{address.host} rejects the credentials, or has no such repository."
        ) from None
    except ObjectMissing as error:
        raise RepositoryError("reference", f"The host did not send the requested commit: {error}") from error
    except (GitProtocolError, HangupException, urllib3.exceptions.HTTPError, OSError) as error:
        raise RepositoryError(
            "unreachable", f"The repository at {address.host} cannot be reached: {_first(error)}"
        ) from error


def _first(error: BaseException) -> str:
    """Return the innermost reason in one line; the outer messages repeat the URL."""
    cause = error.__cause__
    reason = getattr(cause, "reason", None) or getattr(error, "reason", None) or error
    line = re.sub(r"^<?HTTPS?Connection\([^)]*\)>?: ", "", str(reason)).strip().splitlines()
    return line[0][:300] if line else type(reason).__name__
