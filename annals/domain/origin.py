"""Where the source of a deployment came from, and where one that is not here yet is to be fetched from."""

from typing import Literal

import msgspec

ReferenceType = Literal["commit", "branch", "tag"]


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a source came from when it was fetched from a repository; all empty for uploads."""

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
"""Most characters of one field of an origin."""


def storable(origin: Origin) -> Origin:
    """The origin as the store can hold it: a repository or its host may have sent NUL, or texts without end."""
    fields = msgspec.structs.asdict(origin)
    return Origin(**{name: text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:LONGEST] for name, text in fields.items()})


UPLOADED = Origin()
"""No repository: the client sent the source."""


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of a repository at a reference: of a template (`owner` and `name`), or of a project's installation
    (`installation_id` and `repository_id`). A tag may be a range: `1.*` is its highest version.

    A `template` is committed to that folder before it is fetched. Of a `silent` one the host is not told how it ends.
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
