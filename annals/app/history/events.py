"""Queries that read events: a project's events by filters, single events, and the tree of what an event caused.

Filters name the types of events and kinds of resources that this version knows.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from annals.app.as_of.moment import WAIT_SECONDS
from annals.app.edge.call import Call
from annals.app.errors import CursorNotFound, EventNotFound, HistoryNotReady
from annals.app.parameters.kinds import Text, ValidationError
from annals.app.queries.page import Page
from annals.app.queries.reading import read_list
from annals.app.queries.schema import Attribute, Schema, date, text
from annals.app.queries.statements import Sql, all_of
from annals.store.log.mapper import aggregate_classes, event_classes
from annals.store.log.reader import RecordedEvent
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "queries.sql")
MOST_OF_TREE = 1000
"""Most events of one tree."""

_LONGEST = 128

_PAUSE = 0.02
_POSITION = Attribute("sequence", "position")
LIST = Schema(
    QUERIES["searched"],
    "position",
    "Event",
    {
        "$id": _POSITION,
        "$sequence": _POSITION,
        "position": _POSITION,
        "$createdAt": date("recorded_at"),
        "type": text("topic"),
        "resourceType": text("resource_type"),
        "resourceId": text("resource_id"),
        "actor": text("actor"),
        "requestId": text("request"),
        "correlation": text("correlation"),
        "causation": Attribute("sequence", "causation"),
    },
)


class EventFilter(NamedTuple):
    """Filters of a feed: by `type` (or the part before its dot), by `resource` (`function:id`) and by `actor`."""

    type: str | None
    resource: str | None
    actor: str | None
    after: int | None = None

    def fits(self, recorded_event: RecordedEvent) -> bool:
        event = recorded_event.event
        topic, stream = type(event).TOPIC, event.originator_id
        kind, own_id = stream.partition(":")[0], stream.rpartition(":")[2]
        return (
            (self.type is None or self.type in {topic, topic.partition(".")[0]})
            and (self.resource is None or self.resource in {kind, f"{kind}:{own_id}"})
            and (self.actor is None or self.actor in _actors(event.metadata.get("actor", "")))
        )

    def conditions(self) -> list[Sql]:
        found: list[Sql] = []
        if self.type is not None:
            exact = "." in self.type
            found.append(Sql("topic = %s" if exact else "starts_with(topic, %s || '.')", (self.type,)))
        if self.resource is not None:
            kind, colon, own_id = self.resource.partition(":")
            found.append(Sql("resource_type = %s", (kind,)))
            if colon:
                found.append(Sql("resource_id = %s", (own_id,)))
        if self.actor is not None:
            found.append(_acted(self.actor))
        if self.after is not None:
            found.append(Sql("position > %s", (self.after,)))
        return found


class Feed(NamedTuple):
    """A page of a project's events, and the number of all matching events."""

    events: Sequence[RecordedEvent]
    total: int


class Branches(NamedTuple):
    """Events that are linked by their causes. `truncated` is set if there are more than a tree holds."""

    correlation: str
    events: Sequence[RecordedEvent]
    truncated: bool


def is_own(recorded_event: RecordedEvent, since: int) -> bool:
    """Return True if an event belongs to a project created at the position `since`, and not to a former project of that
    id.

    The cleanup of a deleted project may run after its id is used again: its events name an older cause.
    """
    cause = int(recorded_event.event.metadata.get("causation") or 0)
    return recorded_event.position >= since and (not cause or cause >= since)


async def read_feed(call: Call, page: Page, wanted: EventFilter, *, counted: bool) -> Feed:
    """Return a page of a project's events. Raises HistoryNotReady, CursorNotFound."""
    if page.cursor and not page.cursor.isdecimal():
        raise CursorNotFound(f"Event '{page.cursor}' for the 'cursor' value not found.")
    position, since = await _searchable(call), await call.incarnation()
    conditions = [Sql(QUERIES["own"], (call.project_id, since, since)), *wanted.conditions()]
    mine = Sql("project_id = %s", (call.project_id,))
    found = await read_list(
        call, page, LIST, all_of(conditions), counted=counted, columns="position", cursor_scope=mine
    )
    call.position = position
    return Feed(await _recorded_events(call, [row["position"] for row in found.rows]), found.total)


async def read_event(call: Call, position: int) -> RecordedEvent:
    """Return one event of the project. Raises EventNotFound."""
    recorded_event = await call.services.log.reader.at(position)
    if (
        recorded_event is None
        or recorded_event.project != call.project_id
        or not is_own(recorded_event, await call.incarnation())
    ):
        raise EventNotFound
    return recorded_event


async def read_branches(call: Call, position: int) -> Branches:
    """Return all events that follow from the same request or first event. Raises EventNotFound, HistoryNotReady."""
    recorded_event = await read_event(call, position)
    call.position = await _searchable(call)
    database, project, since = call.services.database, call.project_id, await call.incarnation()
    cause = await database.row(QUERIES["cause"], {"position": position, "project": project, "since": since})
    correlation = cause["correlation"] if cause else recorded_event.event.metadata.get("correlation", "")
    root = cause["position"] if cause else position
    params = {
        "project": project,
        "since": since,
        "root": root,
        "correlation": correlation,
        "limit": MOST_OF_TREE + 1,
    }
    rows = await database.rows(QUERIES["tree"], params)
    positions = [row["position"] for row in rows[:MOST_OF_TREE]]
    return Branches(correlation, await _recorded_events(call, positions), len(rows) > MOST_OF_TREE)


async def _recorded_events(call: Call, positions: Sequence[int]) -> list[RecordedEvent]:
    """Return the events at the given positions, in that order. Archived events are read from their archive."""
    reader = call.services.log.reader
    rows = await call.services.database.rows(QUERIES["at"], {"positions": list(positions)})
    known = {row["notification_id"]: reader.recorded_event(row) for row in rows}
    for position in positions:
        if position not in known and (recorded_event := await reader.at(position)) is not None:
            known[position] = recorded_event
    return [known[position] for position in positions if position in known]


async def _searchable(call: Call) -> int:
    """Return the project's newest position once its events can be searched up to it. Raises HistoryNotReady."""
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    newest: int | None = None
    while True:
        row = await call.services.database.row(QUERIES["searchable"], {"project": call.project_id})
        if row is None:
            raise ValueError("searchable always has a row")
        newest = row["newest"] if newest is None else newest
        if row["searched"] >= newest:
            return newest
        if asyncio.get_running_loop().time() > deadline:
            raise HistoryNotReady
        await asyncio.sleep(_PAUSE)


def _actors(actor: str) -> set[str]:
    """Return an actor, its type, and the parent of an ephemeral key."""
    return {actor, actor.partition(":")[0], actor.partition("/")[0]}


def _acted(actor: str) -> Sql:
    """Return the condition for events of an actor or of its ephemeral keys, or of a type of actors. `0` is the
    character after `/`."""
    if ":" not in actor:
        return Sql("split_part(actor, ':', 1) = %s", (actor,))
    return Sql("(actor = %s OR actor > %s || '/' AND actor < %s || '0')", (actor,) * 3)


class EventType(Text):
    """A type such as `function.updated`, or the part before its dot: that also matches types which are added later."""

    def __init__(self) -> None:
        super().__init__(_LONGEST)

    def parse(self, value: Any) -> str:
        wanted = super().parse(value)
        kind, dot, _ = wanted.partition(".")
        known = event_classes()
        mine = sorted(topic for topic in known if topic.startswith(f"{kind}."))
        if not mine:
            raise ValidationError(
                f"There are no events {wanted}. Known are {_kinds()}, alone or as in function.updated"
            )
        if dot and wanted not in known:
            raise ValidationError(f"There are no events {wanted}. Known of {kind} are {', '.join(mine)}")
        return wanted


class Resource(Text):
    """A kind of resource such as `execution`, or one resource such as `function:hello`."""

    def __init__(self) -> None:
        super().__init__(_LONGEST)

    def parse(self, value: Any) -> str:
        wanted = super().parse(value)
        kind, colon, own_id = wanted.partition(":")
        if kind not in aggregate_classes():
            raise ValidationError(
                f"There is no kind of resource {kind}. Known are {_kinds()}, alone or as in function:hello"
            )
        if colon and not own_id:
            raise ValidationError(f"There is no id behind the colon. Leave the colon out, or write as in {kind}:hello")
        return wanted


def _kinds() -> str:
    return ", ".join(sorted(aggregate_classes()))
