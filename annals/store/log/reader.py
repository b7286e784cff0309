"""Reading the log: recorded events in the order of their positions, and the streams that aggregates are folded from.

One file because every reader of the log decodes rows and archived events in the same way.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, overload

from eventsourcing.domain import CanInitAggregate

from annals.domain.base import Aggregate, Key
from annals.store.errors import StandbyAway, UnknownTopic, UnreadableEvent
from annals.store.log import snapshots
from annals.store.log.archives import Archives, project_of
from annals.store.log.mapper import EventMapper
from annals.store.log.stored_row import StoredRow, moment
from annals.store.postgres import sql
from annals.store.postgres.database import Connection, Database, Row
from annals.store.postgres.standby import QUERIES as STANDBY

QUERIES = sql.load(__package__, "reader.sql")


class RecordedEvent(NamedTuple):
    """An event as recorded; `recorded_at` never decreases with `position`."""

    position: int
    recorded_at: datetime
    project: str
    event: Any


class BatchEntry:
    """A row of the log, decoded for all followers of a process when the first one reads its event."""

    __slots__ = ("_decode", "_recorded_event", "row")

    def __init__(self, row: Row, decode: Callable[[Row], RecordedEvent]) -> None:
        self.row, self._decode = row, decode
        self._recorded_event: RecordedEvent | None = None

    @property
    def position(self) -> int:
        return int(self.row["notification_id"])

    @property
    def recorded_event(self) -> RecordedEvent:
        """Return the decoded event. Raises UnknownTopic and UnreadableEvent."""
        if self._recorded_event is None:
            self._recorded_event = self._decode(self.row)
        return self._recorded_event


class EventBatch(Sequence[RecordedEvent]):
    """Consecutive events of the log: a sequence of recorded events, and `rows` for readers of the stored bytes."""

    def __init__(self, entries: Sequence[BatchEntry]) -> None:
        self._entries = entries

    @property
    def rows(self) -> Sequence[Row]:
        return [entry.row for entry in self._entries]

    @property
    def end(self) -> int:
        """Return the position of the last event."""
        return self._entries[-1].position

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[RecordedEvent]:
        return (entry.recorded_event for entry in self._entries)

    @overload
    def __getitem__(self, index: int) -> RecordedEvent: ...
    @overload
    def __getitem__(self, index: slice) -> "EventBatch": ...
    def __getitem__(self, index: int | slice) -> "RecordedEvent | EventBatch":
        if isinstance(index, slice):
            return EventBatch(self._entries[index])
        return self._entries[index].recorded_event


class Length(NamedTuple):
    """The number of a stream's events, and the position of the newest one, 0 without any.

    `version` is the version of the event at the position that was asked for, `first` the first version from `since` on;
    both are None without such an event.
    """

    length: int
    newest: int
    version: int | None
    first: int | None


def project_events(aggregate: Aggregate | None, events: Iterable[Any]) -> Aggregate | None:
    """Fold events into an aggregate; a creating event begins a new incarnation.

    It is also a `projector_func` for the library's repository, several times faster than the default, which checks
    every event against a protocol.
    """
    for event in events:
        aggregate = event.mutate(None if isinstance(event, CanInitAggregate) else aggregate)
    return aggregate


class EventReader:
    """Reads streams and recorded events, archived ones included."""

    def __init__(self, database: Database, mapper: EventMapper, archives: Archives) -> None:
        self.database, self.mapper, self._archives = database, mapper, archives

    async def aggregates(self, keys: Sequence[Key]) -> list[Aggregate | None]:
        """Fold the streams of some keys in one round trip, as of one moment; None for a stream without events.

        Raises UnknownTopic, UnreadableEvent, StoreUnavailable.
        """
        params = {
            "streams": [key.stream for key in keys],
            "shapes": [snapshots.shape(key.aggregate) if key.aggregate.SNAPSHOT_EVERY else "" for key in keys],
        }
        (rows,) = await self.database.run_pipeline([(QUERIES["streams"], params)])
        folded: list[Aggregate | None] = [None] * len(keys)
        for row in rows:
            index = row["ord"] - 1
            if row["topic"] is None:
                folded[index] = snapshots.restore(
                    keys[index].aggregate, keys[index].stream, row["version"], row["state"]
                )
            else:
                event = self.mapper.decode(keys[index].stream, row["version"], row["topic"], row["state"])
                folded[index] = project_events(folded[index], (event,))
        return folded

    async def aggregate_at(self, key: Key, position: int, *, since: int = 0) -> Aggregate | None:
        """Fold a stream as of a position of the log; None if it has no event from `since` to there."""
        aggregate = await self._until(key.aggregate, key.stream, position=position, since=since)
        if aggregate is not None:
            return aggregate
        archived = await self._archived_stream(key.stream)
        return project_events(None, (found.event for found in archived if since <= found.position <= position))

    async def aggregate_before(self, aggregate: type[Aggregate], stream: str, version: int) -> Aggregate | None:
        """Fold a stream without archived events up to before a version; None for version 1."""
        return await self._until(aggregate, stream, version=version - 1) if version > 1 else None

    async def length(self, stream: str, position: int = 0, *, since: int = 0) -> Length:
        """Return the length of a stream without archived events, and which of its events is at a position."""
        row = await self.database.row(QUERIES["length"], {"stream": stream, "position": position, "since": since})
        return Length(0, 0, None, None) if row is None else Length(**row)

    async def _until(
        self,
        aggregate: type[Aggregate],
        stream: str,
        *,
        version: int | None = None,
        position: int | None = None,
        since: int = 0,
    ) -> Aggregate | None:
        shape = snapshots.shape(aggregate) if aggregate.SNAPSHOT_EVERY else ""
        params = {"stream": stream, "shape": shape, "version": version, "position": position, "since": since}
        folded: Aggregate | None = None
        for row in await self.database.rows(QUERIES["stream_until"], params):
            if row["topic"] is None:
                folded = snapshots.restore(aggregate, stream, row["version"], row["state"])
            else:
                event = self.mapper.decode(stream, row["version"], row["topic"], row["state"])
                folded = project_events(folded, (event,))
        return folded

    async def after(
        self,
        position: int,
        limit: int,
        *,
        project: str | None = None,
        until: int | None = None,
        topics: Sequence[str] = (),
    ) -> list[RecordedEvent]:
        """Return the next recorded events after a position, of all projects or one, at most `limit`, up to `until`.

        With `topics`, events of other topics may be left out if that is cheaper. Archived events are read from the blob
        store. Raises ArchiveDamaged, BlobError, UnknownTopic, UnreadableEvent, StoreUnavailable.
        """
        name = "after_of_topics" if topics else "after" if project is None else "after_in_project"
        params = {"position": position, "limit": limit, "project": project, "until": until, "topics": list(topics)}
        rows = await self.database.tuples(QUERIES[name], params)
        end = await self._archives.end()  # read after the rows: an archive may have removed some of them meanwhile
        if position >= end:
            decode = self.mapper.decode
            return [
                RecordedEvent(at, recorded_at, owner, decode(stream, version, topic, state))
                for at, recorded_at, owner, stream, version, topic, state in rows
            ]
        archived = await self._archives.after(position, limit, project=project, until=until)
        if archived:
            return [self._archived(row) for row in archived]
        return await self.after(end, limit, project=project, until=until, topics=topics)

    async def batch_after(self, conn: Connection, position: int, limit: int) -> EventBatch:
        """Return the next events of the log's table after a position, in the transaction of a connection."""
        params = {"position": position, "limit": limit, "until": None}
        rows = await (await conn.execute(QUERIES["after"], params, binary=True)).fetchall()
        return EventBatch([BatchEntry(row, self.recorded_event) for row in rows])

    async def of_stream(self, stream: str, *, after: int = 0, limit: int = 1000) -> list[RecordedEvent]:
        """Return a stream's recorded events after version `after`."""
        rows = await self.database.rows(QUERIES["of_stream"], {"stream": stream, "after": after, "limit": limit})
        if not rows:
            archived = await self._archived_stream(stream)
            newer = [recorded for recorded in archived if recorded.event.originator_version > after]
            return newer[:limit]
        return [self.recorded_event(row) for row in rows]

    async def at(self, position: int) -> RecordedEvent | None:
        """Return the event at a position, or None."""
        found = await self.after(position - 1, 1, until=position)
        return found[0] if found else None

    async def readable(self, position: int) -> bool:
        """Return whether this program can read the event at a position.

        Raises StoreUnavailable, ArchiveDamaged, BlobError.
        """
        try:
            return await self.at(position) is not None
        except (UnknownTopic, UnreadableEvent):
            return False

    async def position(self) -> int:
        """Return the newest position, 0 for an empty log."""
        return int(await self.database.value(QUERIES["newest"]))

    async def durable_position(self) -> int:
        """Return the newest position once the standby has everything up to there.

        Raises StandbyAway, StoreUnavailable.
        """
        if self.database.standby.away:
            raise StandbyAway
        ((row,), _) = await self.database.run_pipeline([(QUERIES["newest"], ()), (STANDBY["barrier"], ())])
        return int(row["position"])

    async def position_at(self, moment: datetime) -> int:
        """Return the highest position recorded at or before a moment, 0 without any."""
        return int(await self.database.value("SELECT position_at(%s)", (moment,)))

    def recorded_event(self, row: dict[str, Any]) -> RecordedEvent:
        """Decode a row of the events table."""
        event = self.mapper.decode(row["originator_id"], row["originator_version"], row["topic"], row["state"])
        return RecordedEvent(row["notification_id"], row["recorded_at"], row["project"], event)

    async def archived(self, streams: Collection[str]) -> list[RecordedEvent]:
        """Return the archived events of some streams, by position. Raises ArchiveDamaged, BlobError."""
        return [self._archived(row) for row in await self._archives.of_streams(streams)]

    async def _archived_stream(self, stream: str) -> list[RecordedEvent]:
        """Return the archived events of a stream: only whole streams of executions leave the log's table."""
        if not stream.startswith("execution:") or not await self._archives.end():
            return []
        return await self.archived({stream})

    def _archived(self, row: StoredRow) -> RecordedEvent:
        event = self.mapper.decode(row.stream, row.version, row.topic, row.state)
        return RecordedEvent(row.position, moment(row.recorded_ms), project_of(row.stream), event)
