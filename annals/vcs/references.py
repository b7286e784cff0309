"""Resolves a branch, a tag, a range of tags, or a commit id (possibly shortened) to a commit."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from annals.domain.origin import ReferenceType
from annals.vcs.errors import RepositoryError

COMMIT = re.compile(r"[0-9a-f]{7,40}")
_NUMBERS = re.compile(r"\d+")


class ResolvedReference(NamedTuple):
    """A commit, and the name to show: the branch, the tag (of a range, its highest tag) or the full commit id."""

    name: str
    commit: str


def resolve(
    kind: ReferenceType, reference: str, branches: Mapping[str, str], tags: Mapping[str, str]
) -> ResolvedReference | None:
    """Return the commit of a reference; None for a commit id that no branch or tag has. Raises RepositoryError."""
    if kind == "branch":
        commit = branches.get(reference)
        if commit is None:
            raise RepositoryError("reference", f"The repository has no branch {reference!r}.")
        return ResolvedReference(reference, commit)
    if kind == "tag":
        tag = highest_version(reference, tags) if "*" in reference else reference
        if tag is None or tag not in tags:
            raise RepositoryError("reference", f"The repository has no tag {reference!r}.")
        return ResolvedReference(tag, tags[tag])
    wanted = reference.lower()
    if not COMMIT.fullmatch(wanted):
        raise RepositoryError("reference", "A commit id has 7 to 40 hexadecimal digits.")
    return commit_by_prefix(wanted, {*branches.values(), *tags.values()})


def commit_by_prefix(prefix: str, commits: Iterable[str]) -> ResolvedReference | None:
    """Return the commit whose id begins with the prefix. Raises RepositoryError if several do."""
    found = {commit for commit in commits if commit.startswith(prefix)}
    if len(found) > 1:
        raise RepositoryError("reference", f"Several commits begin with {prefix}. Use more digits.")
    return ResolvedReference(commit := found.pop(), commit) if found else None


def highest_version(pattern: str, tags: Iterable[str]) -> str | None:
    """Return the tag of the highest version that a pattern with `*` matches. A leading `v` of a tag is optional."""
    wanted = re.compile(".*".join(re.escape(part) for part in pattern.split("*")))
    matching = [tag for tag in tags if wanted.fullmatch(tag) or wanted.fullmatch(tag.removeprefix("v"))]
    return max(matching, key=version_order, default=None)


def version_order(tag: str) -> tuple[tuple[int, ...], bool, tuple[tuple[int, int, str], ...], str]:
    """Return a sort key of a version: numbers compare as numbers, and `1.0.0-rc.1` is lower than `1.0.0`."""
    core, _, before = tag.removeprefix("v").partition("+")[0].partition("-")
    numbers = tuple(int(number) for number in _NUMBERS.findall(core)[:8])
    parts = tuple((0, int(p), "") if p.isdigit() and len(p) < 18 else (1, 0, p) for p in before.split(".") if p)
    return (*numbers, *(0,) * (8 - len(numbers))), not before, parts, tag
