"""The request of an append, and its result."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from eventsourcing.persistence import StoredEvent

from annals.store.content.contents import ContentRow, SealingKey
from annals.store.errors import RequestTooLarge

EVENT_LIMIT = 1000
"""The largest number of events in one transaction."""

BYTE_LIMIT = 512 * 1024
"""The largest number of bytes that one transaction sends, statement parameters and contents included."""

_FIXED = {type(None), bool, int, float, datetime}


class Statement(NamedTuple):
    """One statement of a projection, safe to run twice.

    With a `table` it ends in RETURNING, and its rows come back under that name (the last statement of a table wins).
    """

    sql: str
    params: Mapping[str, object]
    table: str = ""


class ConcurrencySlot(NamedTuple):
    """One of the calls that a function may run at once, if its policy bounds them."""

    project_id: str
    function_id: str

    @property
    def name(self) -> str:
        """Return the name under which a freed slot is announced."""
        return f"{self.project_id}:{self.function_id}"


class Incarnation(NamedTuple):
    """A project, and the position of its creation: a later project with the same id has another one."""

    project_id: str
    position: int


class BuildSlot(NamedTuple):
    """A slot for a build of a project, as the fair share of all workers' slots allows."""

    project_id: str


class AppendRequest(NamedTuple):
    """One all-or-nothing append: events first, then contents and statements.

    The append fails if its `slot` is not free, if one of the `sealed` keys no longer belongs to its project, or if the
    project of `incarnation` was deleted or created again. A request that is `alone` shares no transaction: it removes
    rows that the checks of other requests read.
    """

    events: Sequence[StoredEvent]
    statements: Sequence[Statement] = ()
    contents: Sequence[ContentRow] = ()
    slot: ConcurrencySlot | BuildSlot | None = None
    sealed: frozenset[SealingKey] = frozenset()
    incarnation: Incarnation | None = None
    alone: bool = False

    @property
    def streams(self) -> set[str]:
        return {str(event.originator_id) for event in self.events}


class Appended(NamedTuple):
    """A committed append: the positions of its events, their common time, and the rows of its statements by table."""

    positions: Sequence[int]
    recorded_at: datetime
    rows: Mapping[str, list[dict[str, Any]]]


def measure(request: AppendRequest) -> int:
    """Return about how many bytes a request sends. Raises RequestTooLarge, and ValueError without events."""
    if not request.events:
        raise ValueError("An append without events records nothing")
    size = sum(len(e.state) + len(str(e.originator_id)) + len(e.topic) + 8 for e in request.events)
    size += sum(_weight(s.params) for s in request.statements)
    size += sum(len(c.data or b"") + len(c.stream) + 100 for c in request.contents)
    if size > BYTE_LIMIT or len(request.events) > EVENT_LIMIT:
        raise RequestTooLarge(
            f"One append holds at most {EVENT_LIMIT} events and {BYTE_LIMIT} bytes; "
            f"this one has {len(request.events)} events and {size} bytes."
        )
    return size


def _weight(value: object) -> int:
    kind = type(value)
    if kind is str or kind is bytes:  # nearly all values; a slower check here costs a fifth of an append
        return len(value)  # type: ignore[arg-type]
    if kind in _FIXED:
        return 16
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_weight, value.values())) + 64
    if isinstance(value, Sequence | set | frozenset):
        return sum(map(_weight, value))
    inner = getattr(value, "obj", None)  # the value inside psycopg's Json or Jsonb
    return 16 if inner is None else _weight(inner)
