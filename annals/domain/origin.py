"""The origin of a deployment's source, the remote folder from which it is fetched, and the pushes that build it."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import msgspec

ReferenceType = Literal["commit", "branch", "tag"]


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The repository, reference and commit of a fetched source; all fields are empty for uploads."""

    repository_id: str = ""
    repository_name: str = ""
    repository_owner: str = ""
    repository_url: str = ""
    branch: str = ""
    branch_url: str = ""
    commit_hash: str = ""
    commit_message: str = ""
    commit_url: str = ""
    commit_author: str = ""
    commit_author_url: str = ""
    root_directory: str = ""


LONGEST = 2048
"""Most characters of a field of an origin."""


def storable(origin: Origin) -> Origin:
    """Return the origin without NUL characters and with shortened texts, as the store can hold it."""
    fields = msgspec.structs.asdict(origin)
    return Origin(**{name: text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:LONGEST] for name, text in fields.items()})


UPLOADED = Origin()
"""The origin of a source that the client sent."""


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of a repository at a reference: of a template (`owner` and `name`), or of a project's installation
    (`installation_id` and `repository_id`). A tag may be a range: `1.*` is its highest version.

    A `template` is committed to that folder before the fetch. The host of a `silent` remote gets no status.
    """

    owner: str = ""
    name: str = ""
    installation_id: str = ""
    repository_id: str = ""
    reference_type: ReferenceType
    reference: str
    root_directory: str = ""
    template: "Remote | None" = None
    silent: bool = False


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """New commits of a branch; `paths` are the changed files, None if they are unknown."""

    branch: str
    paths: frozenset[str] | None


def builds(push: Push, *, branches: Sequence[str], paths: Sequence[str]) -> bool:
    """Return True if a push builds a function: its branch and a changed file match the function's globs.

    No globs match all. `*` matches anything within a segment, `**` any segments, `?` one character. A leading `!`
    excludes matches of earlier globs. A push with unknown files matches.
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
