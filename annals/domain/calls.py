"""The parts of an execution: what was asked for, and what a run of it used."""

from typing import ClassVar, Literal

import msgspec

from annals.domain.base import AggregateEvent
from annals.domain.ports import OutputKind, Reason

Status = Literal["scheduled", "waiting", "processing", "completed", "failed"]
Trigger = Literal["http", "schedule", "event"]


class Header(msgspec.Struct, frozen=True):
    name: str
    value: str


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, without the body: `headers` holds only those that are kept for display (http-api.md 7.19).

    `input_digest` is the SHA-256 of the sealed input (body and all headers) kept for a later run, empty for none.
    `event` is the name of what triggered the call.
    """

    method: str
    path: str
    headers: list[Header] = []
    user_id: str = ""
    input_digest: str = ""
    input_size: int = 0
    event: str = ""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Output that is kept whole beside the part of it that the contract shows: SHA-256 in hex, and bytes."""

    kind: OutputKind
    digest: str
    size: int


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What a run really used, and its times in milliseconds.

    `routed` says that a share of the traffic had chosen the deployment, which then need not be the active one.
    """

    deployment_id: str
    function_version: int
    environment_digest: str
    specification: str
    cold: bool = False
    host: str = ""
    queue_ms: int = 0
    start_ms: int = 0
    run_ms: int = 0
    routed: bool = False


class Written(AggregateEvent, frozen=True):
    """What the code of a run wrote: SHA-256 in hex and bytes of what is kept beside the event."""

    REQUIRES_PROJECT: ClassVar[bool] = False
    epoch: int
    logs_digest: str = ""
    logs_size: int = 0
    errors_digest: str = ""
    errors_size: int = 0
    whole: list[Kept] = msgspec.field(default_factory=list)


class Attempted(AggregateEvent, frozen=True):
    """The code answered 500 or above, or did not answer: `reason` says which, `message` in words."""

    REQUIRES_PROJECT: ClassVar[bool] = False
    epoch: int
    reason: Reason
    message: str
    status_code: int
    headers: list[Header] = msgspec.field(default_factory=list)
    ran: Ran | None = None
    logs_digest: str = ""
    logs_size: int = 0
    errors_digest: str = ""
    errors_size: int = 0
    whole: list[Kept] = msgspec.field(default_factory=list)
