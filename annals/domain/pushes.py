"""Which pushes to a repository a function wants built."""

import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """A branch has new commits; `paths` are the files they changed, None when nobody knows."""

    branch: str
    paths: frozenset[str] | None


def wants(push: Push, *, branches: Sequence[str], paths: Sequence[str]) -> bool:
    """Whether the branch fits one of the globs, and one of the changed files another; no globs fit all.

    `*` stands for anything within a segment, `**` for any segments, `?` for one character; `!` in front takes away
    again what an earlier glob took. A push whose files are unknown fits.
    """
    if branches and not fits(push.branch, branches):
        return False
    return not paths or push.paths is None or any(fits(path, paths) for path in push.paths)


def fits(text: str, globs: Sequence[str]) -> bool:
    """The last glob that matches decides; with none but negative ones, everything else fits."""
    fitting = all(glob.startswith("!") for glob in globs)
    for glob in globs:
        if _pattern(glob.removeprefix("!").strip("/")).fullmatch(text):
            fitting = not glob.startswith("!")
    return fitting


@lru_cache(maxsize=1024)
def _pattern(glob: str) -> re.Pattern[str]:
    """`a/**` is everything below a, `**/a` an a anywhere."""
    pieces = re.split(r"(\*\*/|/\*\*$|\*\*|\*|\?)", glob)
    meaning = {"**/": "(?:[^/]+/)*", "/**": "/.+", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meaning.get(piece, re.escape(piece)) for piece in pieces), re.DOTALL)
