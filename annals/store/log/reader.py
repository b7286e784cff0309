"""Reading the log: facts in the order of their positions, and the streams that aggregates are folded from."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from eventsourcing.domain import CanInitAggregate

from annals.domain.base import Aggregate, Key
from annals.store.errors import StandbyAway, UnknownTopic, UnreadableEvent
from annals.store.log import snapshots
from annals.store.log.archives import Archives, project_of
from annals.store.log.mapper import EventMapper
from annals.store.postgres import sql
from annals.store.postgres.database import Database
from annals.store.postgres.standby import QUERIES as STANDBY
from annals.store.proof.leaf import StoredRow, moment

QUERIES = sql.load(__package__, "reader.sql")


class RecordedEvent(NamedTuple):
    """An event as recorded; `recorded_at` never runs against `position`."""

    position: int
    recorded_at: datetime
    project: str
    event: Any


class Length(NamedTuple):
    """A stream's events, the position of the newest (0 without any), and the version of the one that was asked for.

    `first` is the first version from the position on that was named, None without any.
    """

    length: int
    newest: int
    version: int | None
    first: int | None


def project_events(aggregate: Aggregate | None, events: Iterable[Any]) -> Aggregate | None:
    """Fold events into an aggregate; one that creates begins a new incarnation, whatever was before.

    Also a `projector_func` for the library's repository, several times faster than its default, which checks every
    event against a protocol.
    """
    for event in events:
        aggregate = event.mutate(None if isinstance(event, CanInitAggregate) else aggregate)
    return aggregate


class EventReader:
    """Everything the log can be asked."""

    def __init__(self, database: Database, mapper: EventMapper, archives: Archives) -> None:
        self.database, self.mapper, self._archives = database, mapper, archives

    async def aggregates(self, keys: Sequence[Key]) -> list[Aggregate | None]:
        """Fold the streams of some keys, as of one moment, in one trip; None for a stream that was never begun.

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
        """Fold a stream as it was at a position of the log; None when it was not begun from `since` on by then."""
        found = await self._until(key.aggregate, key.stream, position=position, since=since)
        if found is not None:
            return found
        archived = [
            recorded_event
            for recorded_event in await self._archived_stream(key.stream)
            if since <= recorded_event.position <= position
        ]
        return project_events(None, (recorded_event.event for recorded_event in archived))

    async def aggregate_before(self, aggregate: type[Aggregate], stream: str, version: int) -> Aggregate | None:
        """Fold a stream of which nothing is archived up to before a version; None for before the first."""
        return await self._until(aggregate, stream, version=version - 1) if version > 1 else None

    async def length(self, stream: str, position: int = 0, *, since: int = 0) -> Length:
        """How long a stream is of which nothing is archived, and which of its events is at a position."""
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
        """The next facts after a position, of all projects or one, at most `limit`, none beyond `until`.

        With `topics` those of others may be left out, where that costs less than to read them. Archived stretches are
        read where they lie. Raises ArchiveDamaged, BlobError besides.
        """
        name = "after_of_topics" if topics else "after" if project is None else "after_in_project"
        params = {"position": position, "limit": limit, "project": project, "until": until, "topics": list(topics)}
        rows = await self.database.tuples(QUERIES[name], params)
        end = await self._archives.end()  # asked after the rows were read: they may be what an archive left behind
        if position >= end:
            decode = self.mapper.decode
            return [
                RecordedEvent(place, at, owner, decode(stream, version, topic, state))
                for place, at, owner, stream, version, topic, state in rows
            ]
        archived = await self._archives.after(position, limit, project=project, until=until)
        if archived:
            return [self._archived(row) for row in archived]
        return await self.after(end, limit, project=project, until=until, topics=topics)

    async def of_stream(self, stream: str, *, after: int = 0, limit: int = 1000) -> list[RecordedEvent]:
        """A stream's history by version, from after version `after`."""
        rows = await self.database.rows(QUERIES["of_stream"], {"stream": stream, "after": after, "limit": limit})
        if not rows:
            archived = await self._archived_stream(stream)
            return [recorded_event for recorded_event in archived if recorded_event.event.originator_version > after][
                :limit
            ]
        return [self.recorded_event(row) for row in rows]

    async def at(self, position: int) -> RecordedEvent | None:
        """The fact at a position, None where there is none."""
        found = await self.after(position - 1, 1, until=position)
        return found[0] if found else None

    async def readable(self, position: int) -> bool:
        """Whether this program can read the event at a position. Raises StoreUnavailable, ArchiveDamaged, BlobError."""
        try:
            return await self.at(position) is not None
        except (UnknownTopic, UnreadableEvent):
            return False

    async def position(self) -> int:
        """The newest position, 0 for an empty log."""
        return int(await self.database.value(QUERIES["newest"]))

    async def durable_position(self) -> int:
        """As `position`, once all up to there is where a commit is to be: for answers that say what is recorded.

        Raises StandbyAway, StoreUnavailable.
        """
        if self.database.standby.away:
            raise StandbyAway
        ((row,), _) = await self.database.run_pipeline([(QUERIES["newest"], ()), (STANDBY["barrier"], ())])
        return int(row["position"])

    async def position_at(self, moment: datetime) -> int:
        """The highest position recorded at or before a moment, 0 when there is none."""
        return int(await self.database.value("SELECT position_at(%s)", (moment,)))

    def recorded_event(self, row: dict[str, Any]) -> RecordedEvent:
        """A row of the events table, decoded."""
        event = self.mapper.decode(row["originator_id"], row["originator_version"], row["topic"], row["state"])
        return RecordedEvent(row["notification_id"], row["recorded_at"], row["project"], event)

    async def archived(self, streams: Collection[str]) -> list[RecordedEvent]:
        """What of some streams is archived, by position. Raises ArchiveDamaged, BlobError."""
        return [self._archived(row) for row in await self._archives.of_streams(streams)]

    async def _archived_stream(self, stream: str) -> list[RecordedEvent]:
        """Only executions leave the log's table, and whole."""
        if not stream.startswith("execution:") or not await self._archives.end():
            return []
        return await self.archived({stream})

    def _archived(self, row: StoredRow) -> RecordedEvent:
        event = self.mapper.decode(row.stream, row.version, row.topic, row.state)
        return RecordedEvent(row.position, moment(row.recorded_ms), project_of(row.stream), event)
