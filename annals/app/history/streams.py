"""The history of one resource: the events of its stream, with the changes that each made."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from eventsourcing.domain import CanInitAggregate

from annals.app.edge.call import Call
from annals.app.errors import CursorNotFound
from annals.app.queries.memory import paged
from annals.app.queries.page import PAGE, Page
from annals.app.queries.schema import Attribute, Schema, date, text
from annals.app.queries.statements import MOST_COUNTED
from annals.domain.base import Aggregate, Key
from annals.domain.errors import DomainError
from annals.domain.redaction import FieldChange, Tree, describe_openable, differences
from annals.store.log.archives import project_of
from annals.store.log.mapper import aggregate_classes
from annals.store.log.reader import EventReader, RecordedEvent
from annals.store.postgres.database import Row

_BATCH = 2000
_BY_ORDER = frozenset({"", "$sequence", "position", "version"})
_POSITION = Attribute("sequence", "position")
LIST = Schema(
    "",
    "$id",
    "Event",
    {
        "$id": text("$id"),
        "$sequence": _POSITION,
        "position": _POSITION,
        "$createdAt": date("$createdAt"),
        "type": text("type"),
        "actor": text("actor"),
        "requestId": text("requestId"),
        "correlation": text("correlation"),
        "version": Attribute("sequence", "version"),
    },
)


class History(NamedTuple):
    """A page of a history: events with their changes, and the number of all events."""

    events: Sequence[tuple[RecordedEvent, Sequence[FieldChange]]]
    total: int


async def read_history(
    call: Call,
    key: Key,
    page: Page,
    missing: type[DomainError],
    *,
    about: Callable[[Any], bool] | None = None,
) -> History:
    """Return a page of a resource's history, only with events that are `about` it (None: all events of its stream).

    A deleted resource keeps its history. Raises `missing` for one that never existed, CursorNotFound, QueryInvalid.
    """
    since = await call.incarnation() if project_of(key.stream) == call.project_id else 0
    if about is None and key.aggregate.SNAPSHOT_EVERY and _in_order(page):
        return await _read_range(call, key, page, missing, since)
    recorded_events = await whole(call.services.log.reader, key.stream, since=since)
    rows = [_row(recorded_event) for recorded_event in recorded_events if about is None or about(recorded_event.event)]
    if not rows:
        raise missing
    call.seen(recorded_events[-1].position)
    found = paged(rows, page, noun=LIST.noun)
    wanted = [row["recorded_event"] for row in found.rows]
    changes = changes_at(recorded_events, {recorded_event.position for recorded_event in wanted})
    return History([(recorded_event, changes[recorded_event.position]) for recorded_event in wanted], found.total)


async def whole(log: EventReader, stream: str, *, since: int = 0) -> list[RecordedEvent]:
    """Return all events of a stream in order, without those from before its project was created at the position
    `since`."""
    return [
        recorded_event for recorded_event in await _between(log, stream, 0, None) if recorded_event.position >= since
    ]


async def changes_of(log: EventReader, recorded_event: RecordedEvent) -> list[FieldChange]:
    """Return the changes that one event made."""
    stream: str = recorded_event.event.originator_id
    aggregate = aggregate_classes()[stream.partition(":")[0]]
    if not aggregate.SNAPSHOT_EVERY:
        return changes_at(await whole(log, stream), {recorded_event.position})[recorded_event.position]
    former = await log.aggregate_before(aggregate, stream, recorded_event.event.originator_version)
    return changes_at([recorded_event], {recorded_event.position}, former)[recorded_event.position]


def changes_at(
    recorded_events: Sequence[RecordedEvent], positions: Collection[int], aggregate: Aggregate | None = None
) -> dict[int, list[FieldChange]]:
    """Return the changes that the events at some positions of one stream made. `aggregate` is the state before the
    events."""
    last = max(positions, default=0)
    found: dict[int, list[FieldChange]] = {}
    former: Tree | None = None
    for recorded_event in recorded_events:
        if recorded_event.position > last:
            break
        begins = isinstance(recorded_event.event, CanInitAggregate)
        wanted = recorded_event.position in positions
        if wanted and (former is None or begins):
            former = describe_openable(None if begins else aggregate)
        aggregate = recorded_event.event.mutate(None if begins else aggregate)
        latter = describe_openable(aggregate) if wanted else None
        if latter is not None:
            found[recorded_event.position] = differences(former or {}, latter)
        former = latter
    return found


def _in_order(page: Page) -> bool:
    """Return True if a page is one range of the stream: all events, in order or in reverse order."""
    orders = page.orders or [("", False)]
    return not page.filters and not page.random and len(orders) == 1 and orders[0][0] in _BY_ORDER


async def _read_range(call: Call, key: Key, page: Page, missing: type[DomainError], since: int) -> History:
    """Return the events of a page that is one range of versions, which have no gaps.

    The state before them is folded from the nearest snapshot.
    """
    log = call.services.log.reader
    cursor = int(page.cursor) if page.cursor.isdecimal() and len(page.cursor) < 19 else 0
    length, newest, behind, begun = await log.length(key.stream, cursor, since=since)
    if begun is None:
        raise missing
    call.seen(newest)
    if page.cursor and (behind is None or behind < begun):
        raise CursorNotFound(f"{LIST.noun} '{page.cursor}' for the 'cursor' value not found.")
    descends = bool(page.orders and page.orders[0][1])
    versions: range = range(length, begun - 1, -1) if descends else range(begun, length + 1)
    if behind is not None:
        index = versions.index(behind)
        versions = versions[:index] if page.backwards else versions[index + 1 :]
    start, limit = page.offset or 0, page.limit if page.limit is not None else PAGE
    if page.backwards:
        end = max(0, len(versions) - start)
        versions = versions[max(0, end - limit) : end]
    else:
        versions = versions[start : start + limit]
    total = min(length - begun + 1, MOST_COUNTED)
    if not versions:
        return History([], total)
    first, last = min(versions[0], versions[-1]), max(versions[0], versions[-1])
    recorded_events = await _between(log, key.stream, first - 1, last)
    former = await log.aggregate_before(key.aggregate, key.stream, first)
    changes = changes_at(recorded_events, {recorded_event.position for recorded_event in recorded_events}, former)
    shown = recorded_events[::-1] if descends else recorded_events
    return History([(recorded_event, changes[recorded_event.position]) for recorded_event in shown], total)


async def _between(log: EventReader, stream: str, after: int, last: int | None) -> list[RecordedEvent]:
    """Return a stream's events after one version up to another."""
    recorded_events: list[RecordedEvent] = []
    while last is None or after < last:
        limit = _BATCH if last is None else min(_BATCH, last - after)
        batch = await log.of_stream(stream, after=after, limit=limit)
        if not batch:
            break
        recorded_events += batch
        after = batch[-1].event.originator_version
    return recorded_events


def _row(recorded_event: RecordedEvent) -> Row:
    metadata: Mapping[str, str] = recorded_event.event.metadata
    return {
        "recorded_event": recorded_event,
        "$id": str(recorded_event.position),
        "$sequence": recorded_event.position,
        "position": recorded_event.position,
        "$createdAt": recorded_event.recorded_at,
        "type": type(recorded_event.event).TOPIC,
        "actor": metadata.get("actor", ""),
        "requestId": metadata.get("request", ""),
        "correlation": metadata.get("correlation", ""),
        "version": recorded_event.event.originator_version,
    }
