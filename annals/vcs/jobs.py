"""What the fetching process is asked and what it answers; JSON between two processes of one version."""

from typing import Literal

import msgspec

from annals.domain.origin import Origin, ReferenceType
from annals.vcs.errors import Kind


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much one fetch may take: `seconds` of time, the rest in bytes but for the number of `files`."""

    seconds: float = 120.0
    transfer_bytes: int = 500_000_000
    unpacked_bytes: int = 1024**3
    archive_bytes: int = 0
    files: int = 100_000
    memory_bytes: int = 2 * 1024**3


class Bundled(msgspec.Struct, frozen=True, kw_only=True, tag="bundled"):
    """The repository that comes with this program."""


class Git(msgspec.Struct, frozen=True, kw_only=True, tag="git"):
    """A repository by URL. One that the operator names is `trusted`: any scheme, and its host may be internal."""

    url: str
    web_url: str = ""
    username: str = ""
    password: str = ""
    private_key: str = ""
    known_hosts: str = ""
    trusted: bool = False


class GitHub(msgspec.Struct, frozen=True, kw_only=True, tag="github"):
    """A repository at a GitHub App's installation; `repository` is its number or its `owner/name`."""

    api: str
    app_id: str
    private_key: str
    installation: str
    repository: str


State = Literal["pending", "success", "failure"]
Place = Bundled | Git | GitHub


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of another repository."""

    place: Place
    reference_type: ReferenceType
    reference: str
    root_directory: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a commit, for its host to show."""

    commit: str
    state: State
    description: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Look a reference up, and with an `archive` (a path to write) pack a folder of it. `folder` is for scratch files.

    `known` holds what the asker knows of the origin already; what is found out replaces it. A `template` is first
    committed to the branch that is meant. With a `report` nothing is looked up: it is told to the host.
    """

    place: Place
    reference_type: ReferenceType
    reference: str
    root_directory: str = ""
    archive: str = ""
    folder: str
    known: Origin
    bounds: Bounds
    allowed_hosts: tuple[str, ...] = ()
    template: Folder | None = None
    report: Report | None = None
    parent: int


class Found(msgspec.Struct, frozen=True, kw_only=True, tag="found"):
    origin: Origin
    files: int = 0


class JobRefused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    kind: Kind
    sentence: str


Reply = Found | JobRefused
