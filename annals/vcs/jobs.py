"""Messages to and from the fetching process; JSON between two processes of one version."""

from typing import Literal

import msgspec

from annals.domain.origin import Origin, ReferenceType
from annals.vcs.errors import Kind


class FetchBounds(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one fetch: `seconds`, the number of `files`, and the rest in bytes."""

    seconds: float = 120.0
    transfer_bytes: int = 500_000_000
    unpacked_bytes: int = 1024**3
    archive_bytes: int = 0
    files: int = 100_000
    memory_bytes: int = 2 * 1024**3


class Bundled(msgspec.Struct, frozen=True, kw_only=True, tag="bundled"):
    """The bundled repository of templates."""


class Git(msgspec.Struct, frozen=True, kw_only=True, tag="git"):
    """A repository by URL. The operator's own URLs are `trusted`: any scheme, and the host may be internal."""

    url: str
    web_url: str = ""
    username: str = ""
    password: str = ""
    private_key: str = ""
    known_hosts: str = ""
    trusted: bool = False


class GitHub(msgspec.Struct, frozen=True, kw_only=True, tag="github"):
    """A repository of a GitHub App's installation; `repository` is its number or its `owner/name`."""

    api: str
    app_id: str
    private_key: str
    installation: str
    repository: str


State = Literal["pending", "success", "failure"]
Location = Bundled | Git | GitHub


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of another repository."""

    location: Location
    reference_type: ReferenceType
    reference: str
    root_directory: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A commit's status, for its host to show."""

    commit: str
    state: State
    description: str


class FetchJob(msgspec.Struct, frozen=True, kw_only=True):
    """Look a reference up, and pack its folder if there is an `archive` (a path). `folder` is for temporary files.

    `known` holds the origin's known fields; the fetch replaces those it finds. A `template` is first committed to
    the branch. With a `report` the job looks nothing up: it sends the report to the host.
    """

    location: Location
    reference_type: ReferenceType
    reference: str
    root_directory: str = ""
    archive: str = ""
    folder: str
    known: Origin
    bounds: FetchBounds
    allowed_hosts: tuple[str, ...] = ()
    template: Folder | None = None
    report: Report | None = None
    parent: int


class FetchResult(msgspec.Struct, frozen=True, kw_only=True, tag="found"):
    origin: Origin
    files: int = 0


class JobFailed(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    kind: Kind
    sentence: str


Reply = FetchResult | JobFailed
