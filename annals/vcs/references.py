"""Which commit a branch, a tag, a range of tags or a (shortened) commit id means."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from annals.domain.origin import ReferenceType
from annals.vcs.errors import RepositoryError

COMMIT = re.compile(r"[0-9a-f]{7,40}")
_NUMBERS = re.compile(r"\d+")


class Chosen(NamedTuple):
    """`name` as it is shown: the branch, the tag (the one that a range came to) or the whole commit id."""

    name: str
    commit: str


def choose(kind: ReferenceType, reference: str, branches: Mapping[str, str], tags: Mapping[str, str]) -> Chosen | None:
    """Return the commit that a reference names; None for a commit that is no tip. Raises RepositoryError."""
    if kind == "branch":
        commit = branches.get(reference)
        if commit is None:
            raise RepositoryError("reference", f"The repository has no branch {reference!r}.")
        return Chosen(reference, commit)
    if kind == "tag":
        tag = highest(reference, tags) if "*" in reference else reference
        if tag is None or tag not in tags:
            raise RepositoryError("reference", f"The repository has no tag {reference!r}.")
        return Chosen(tag, tags[tag])
    wanted = reference.lower()
    if not COMMIT.fullmatch(wanted):
        raise RepositoryError("reference", "A commit is named by 7 to 40 hexadecimal digits.")
    return one_of(wanted, {*branches.values(), *tags.values()})


def one_of(prefix: str, commits: Iterable[str]) -> Chosen | None:
    """The one commit whose id begins so. Raises RepositoryError when there are several."""
    found = {commit for commit in commits if commit.startswith(prefix)}
    if len(found) > 1:
        raise RepositoryError("reference", f"Several commits begin with {prefix}.")
    return Chosen(commit := found.pop(), commit) if found else None


def highest(pattern: str, tags: Iterable[str]) -> str | None:
    """The tag of the highest version that a pattern with `*` matches, with or without a `v` in front."""
    wanted = re.compile(".*".join(re.escape(part) for part in pattern.split("*")))
    matching = [tag for tag in tags if wanted.fullmatch(tag) or wanted.fullmatch(tag.removeprefix("v"))]
    return max(matching, key=version_order, default=None)


def version_order(tag: str) -> tuple[tuple[int, ...], bool, tuple[tuple[int, int, str], ...], str]:
    """Sorts versions: numbers as numbers, and what is before a release (`1.0.0-rc.1`) before it."""
    core, _, before = tag.removeprefix("v").partition("+")[0].partition("-")
    numbers = tuple(int(number) for number in _NUMBERS.findall(core)[:8])
    parts = tuple((0, int(p), "") if p.isdigit() and len(p) < 18 else (1, 0, p) for p in before.split(".") if p)
    return (*numbers, *(0,) * (8 - len(numbers))), not before, parts, tag
