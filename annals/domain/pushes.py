"""Selects the pushes to a repository for which a function is built."""

import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """New commits of a branch; `paths` are the changed files, None if they are unknown."""

    branch: str
    paths: frozenset[str] | None


def wants(push: Push, *, branches: Sequence[str], paths: Sequence[str]) -> bool:
    """Return True if the branch matches one of its globs, and a changed file one of the path globs. No globs match all.

    `*` matches anything within a segment, `**` any segments, `?` one character. A leading `!` excludes matches of
    earlier globs. A push with unknown files matches.
    """
    if branches and not matches(push.branch, branches):
        return False
    return not paths or push.paths is None or any(matches(path, paths) for path in push.paths)


def matches(text: str, globs: Sequence[str]) -> bool:
    """Return True if the last matching glob is positive. If all globs are negative, everything else matches."""
    fitting = all(glob.startswith("!") for glob in globs)
    for glob in globs:
        if _pattern(glob.removeprefix("!").strip("/")).fullmatch(text):
            fitting = not glob.startswith("!")
    return fitting


@lru_cache(maxsize=1024)
def _pattern(glob: str) -> re.Pattern[str]:
    """Return a glob as a regular expression: `a/**` is everything below a, `**/a` an a at any depth."""
    pieces = re.split(r"(\*\*/|/\*\*$|\*\*|\*|\?)", glob)
    meaning = {"**/": "(?:[^/]+/)*", "/**": "/.+", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meaning.get(piece, re.escape(piece)) for piece in pieces), re.DOTALL)
