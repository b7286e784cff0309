"""The origin of a deployment's source, and the remote folder from which a source is fetched."""

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
