"""The event log: it loads the aggregates that a command needs, calls the command, and appends the events it decided.

One file because the asynchronous log and its synchronous face change together.
"""

import asyncio
import contextlib
import random
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self, TypeVar

import msgspec
import structlog

from annals.domain.base import Aggregate, Key
from annals.domain.errors import Conflict, DomainError
from annals.store.content.contents import Content, Contents, PreparedContent, SealingKey, sealed_by
from annals.store.errors import StoreError, StreamConflict
from annals.store.log import snapshots
from annals.store.log.append_modes import QUERIES as APPEND
from annals.store.log.archives import Archives, project_of
from annals.store.log.group_append import GroupAppender
from annals.store.log.mapper import EventMapper, Upcast
from annals.store.log.reader import QUERIES, EventReader
from annals.store.log.request import AppendRequest, BuildSlot, ConcurrencySlot, Incarnation, Statement
from annals.store.postgres.database import Database
from annals.store.postgres.migrate import QUERIES as MIGRATIONS
from annals.store.secrets.vault import key_of

__all__ = ["EventLog", "Key", "Meta", "Recorded", "SyncLog"]

Decision = Sequence[Aggregate] | Aggregate | bool | None
Command = Callable[..., Decision]
"""A method of an aggregate, or a function that returns the aggregates to record."""

Inline = Callable[[Any], Sequence[Statement]]
"""A pure function that returns the statements of an event's inline read models."""

Observer = Callable[[Sequence[Aggregate], Sequence[Any]], None]
"""Called with the aggregates and their events after an append. Must not raise."""

T = TypeVar("T")

ATTEMPTS = 16
"""The number of attempts of a command whose streams keep changing."""

COMPACTS = "0025_post_compact_states.sql"
"""The migration after which states are stored compressed."""

ASKS_SECONDS = 60.0
"""The pause between two looks for that migration."""

log = structlog.get_logger(__name__)


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The origin of an event: `causation` is the position that it reacts to, `correlation` the first request.

    `depth` is the number of triggered functions between the first request and this one, empty for none. `incarnation`
    is the project that the request was authorized for: the append requires it, and events do not store it.
    """

    actor: str
    request: str = ""
    causation: str = ""
    correlation: str = ""
    address: str = ""
    depth: str = ""
    incarnation: Incarnation | None = None

    def stored(self) -> dict[str, str]:
        """Return the fields that events store."""
        fields: dict[str, str] = msgspec.to_builtins(self)
        fields.pop("incarnation", None)
        return fields


class Recorded(NamedTuple):
    """The result of an append: position and time of the last event, read-model rows by table, aggregates and events.

    If nothing was decided, `events` and `rows` are empty, `position` is the log's newest and `recorded_at` is None.
    """

    position: int
    recorded_at: datetime | None
    rows: Mapping[str, list[dict[str, Any]]]
    aggregates: Sequence[Aggregate]
    events: Sequence[Any]


class EventLog:
    """The log of a process, on the event loop that opened it. `sync` is its face for other threads."""

    def __init__(
        self,
        database: Database,
        appender: GroupAppender,
        mapper: EventMapper,
        contents: Contents,
        *,
        inline: Inline,
        required: Inline,
        observer: Observer,
        sealed: Callable[[Any], Sequence[str]],
    ) -> None:
        self.database, self.mapper, self.contents = database, mapper, contents
        self.reader = EventReader(database, mapper, Archives(database, contents.blobs))
        self.loop = asyncio.get_running_loop()
        self.sync = SyncLog(self)
        self._appender, self._inline, self._required = appender, inline, required
        self._sealed, self._observer = sealed, observer
        self._asks_at = 0.0
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._background: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(
        cls,
        database: Database,
        *,
        contents: Contents,
        inline: Inline = lambda _event: (),
        required: Inline = lambda _event: (),
        sealed: Callable[[Any], Sequence[str]] = lambda _event: (),
        constraint_errors: Mapping[str, type[DomainError]] | None = None,
        upcasts: dict[str, Upcast] | None = None,
        observer: Observer = lambda _aggregates, _events: None,
    ) -> Self:
        """Open the log over a migrated database.

        `inline` returns the statements that share an event's transaction. `required` returns statements before them
        that fail if the event may not be appended. `sealed` returns an event's sealed values. `constraint_errors` maps
        a constraint's name to the error of its violation. `observer` is called after each append.
        """
        appender = GroupAppender(database, constraint_errors, retry_seconds=database.retry_seconds)
        parts: dict[str, Any] = {"inline": inline, "required": required, "sealed": sealed, "observer": observer}
        opened = cls(database, appender, EventMapper(upcasts), contents, **parts)
        await opened._may_compact()
        return opened

    async def close(self) -> None:
        """Record the queued requests and finish snapshots. The database stays open: the caller closes it."""
        await self._appender.close()
        await asyncio.gather(*self._background)

    @property
    def appender(self) -> GroupAppender:
        return self._appender

    async def run(
        self,
        command: Command,
        *keys: Key,
        meta: Meta,
        contents: Sequence[Content] = (),
        dry_run: bool = False,
        takes: BuildSlot | None = None,
        requires: Sequence[Statement] = (),
        **arguments: Any,
    ) -> Recorded:
        """Load the aggregates of `keys`, call `command(*aggregates, **arguments)` and append all events it decided.

        A command is a method of one aggregate, or a function of `annals.domain.commands` that returns the aggregates.

        A decision holds only for the loaded versions: if any loaded stream has moved on, the race is lost, and the
        command runs again. At first a key that may be absent is assumed absent, which saves a read.
        With `dry_run` nothing is appended: `events` and `rows` are those that an append would give, and the errors are
        the same. `takes` is a slot that the append needs. `requires` are statements that fail if the append may not be
        made; they run before the statements of its events.

        Raises a key's `missing`, the command's errors, the error of a violated constraint, Conflict after several lost
        races, NoFreeSlot if the slot is taken, ProjectReplaced if the project of `meta` is gone, DataKeyReplaced if a
        key that sealed a value is gone, StoreUnavailable, RequestTooLarge.
        """
        prepared: Sequence[PreparedContent] | None = None
        async with contextlib.AsyncExitStack() as turn:
            for attempt in range(ATTEMPTS):
                if attempt == 1:
                    await self._queue_for(keys, turn)
                elif attempt:
                    await asyncio.sleep(random.uniform(0, 0.002 * attempt))  # noqa: S311 - no secret
                assumed_absent = not attempt and not dry_run and all(key.missing is None for key in keys)
                loaded = [None] * len(keys) if assumed_absent else await self._load(keys)
                aggregates = _decided(command(*loaded, **arguments), loaded)
                if prepared is None:  # once, and only after the command accepted
                    prepared = () if dry_run else await self.contents.prepare(contents)
                try:
                    return await self._append(
                        aggregates, meta, prepared, read=loaded, dry_run=dry_run, takes=takes, requires=requires
                    )
                except StreamConflict:
                    continue
        raise Conflict

    async def _queue_for(self, keys: Sequence[Key], turn: contextlib.AsyncExitStack) -> None:
        """Take the locks of streams: the losers of races in this process change a busy stream one after another.

        They can still lose races against other processes, hence the short random pauses in `run`.
        """
        for stream in sorted({key.stream for key in keys}):
            lock = self._turns.get(stream)
            if lock is None:
                lock = self._turns[stream] = asyncio.Lock()
            await turn.enter_async_context(lock)

    async def record(
        self,
        aggregates: Sequence[Aggregate],
        *,
        meta: Meta,
        contents: Sequence[Content] = (),
        dry_run: bool = False,
        takes: ConcurrencySlot | None = None,
        gives_back: ConcurrencySlot | None = None,
    ) -> Recorded:
        """Append the pending events of loaded aggregates. After a failure load them again: the events are gone.

        `dry_run` and `takes` are as in `run`. A slot in `gives_back` is announced to the calls that wait for one.
        Raises Conflict if a stream has moved on, and as `run`.
        """
        back = () if gives_back is None else (Statement(APPEND["announce_freed_slot"], {"slot": gives_back.name}),)
        try:
            prepared = () if dry_run else await self.contents.prepare(contents)
            return await self._append(aggregates, meta, prepared, dry_run=dry_run, takes=takes, beside=back)
        except StreamConflict as error:
            raise Conflict from error

    async def load(self, key: Key) -> Any:
        """Return one aggregate; a deleted one counts as missing, unless the key may be absent. Raises `missing`."""
        (aggregate,) = await self._load((key,))
        return aggregate

    async def _load(self, keys: Sequence[Key]) -> list[Aggregate | None]:
        if not keys:
            return []
        aggregates = await self.reader.aggregates(keys)
        for key, aggregate in zip(keys, aggregates, strict=True):
            if key.missing is not None and (aggregate is None or aggregate.deleted):
                raise key.missing
        return aggregates

    async def _append(
        self,
        aggregates: Sequence[Aggregate],
        meta: Meta,
        contents: Sequence[PreparedContent],
        *,
        read: Sequence[Aggregate | None] = (),
        dry_run: bool = False,
        takes: ConcurrencySlot | BuildSlot | None = None,
        beside: Sequence[Statement] = (),
        requires: Sequence[Statement] = (),
    ) -> Recorded:
        events: list[Any] = [event for aggregate in aggregates for event in aggregate.collect_events()]
        if not events:  # the answer says that it is so already: a failover must not lose that
            return Recorded(await self.reader.durable_position(), None, {}, aggregates, ())
        metadata = meta.stored()
        for event in events:
            event.metadata.update(metadata)
        if not self.mapper.compacts and self.loop.time() >= self._asks_at:
            await self._may_compact()
        versions = {event.originator_id: event.originator_version for event in events}
        request = AppendRequest(
            [self.mapper.to_stored_event(event) for event in events],
            [
                *requires,
                *_unchanged(read, versions),
                *(statement for event in events for statement in self._required(event)),
                *(statement for event in events for statement in self._inline(event)),
                *beside,
            ],
            [content.row(versions) for content in contents],
            takes,
            frozenset(sealed_by(contents) | {key for event in events for key in self._keys_of(event)}),
            meta.incarnation if any(event.REQUIRES_PROJECT for event in events) else None,
            any(event.ENDS_PROJECT for event in events),
        )
        if dry_run:
            attempted = await self._appender.attempt(request)
            return Recorded(await self.reader.position(), None, attempted.rows, aggregates, events)
        appended = await self._appender.append(request)
        self._take_snapshots(aggregates, events)
        self._observer(aggregates, events)
        return Recorded(appended.positions[-1], appended.recorded_at, appended.rows, aggregates, events)

    def _keys_of(self, event: Any) -> Iterator[SealingKey]:
        """Yield the data keys that sealed an event's values."""
        keys = filter(None, map(key_of, self._sealed(event)))
        return (SealingKey(project_of(event.originator_id), key_id) for key_id in keys)

    async def _may_compact(self) -> None:
        """Compress states from now on if the ledger of migrations says that every running program can read them."""
        self._asks_at = self.loop.time() + ASKS_SECONDS
        try:
            self.mapper.compacts = bool(await self.database.value(MIGRATIONS["is_applied"], {"name": COMPACTS}))
        except StoreError:  # plain states are always readable
            log.warning("ledger_not_read", exc_info=True)

    def _take_snapshots(self, aggregates: Sequence[Aggregate], events: Sequence[Any]) -> None:
        for aggregate in aggregates:
            every = type(aggregate).SNAPSHOT_EVERY
            if every and any(e.originator_id == aggregate.id and e.originator_version % every == 0 for e in events):
                try:
                    state = snapshots.take(aggregate)  # now: the caller may change the aggregate later
                except TypeError:  # the append is committed: a missing snapshot only makes the next load longer
                    log.exception("snapshot_not_taken", stream=aggregate.id)
                else:
                    self._later(self._put_snapshot(type(aggregate), aggregate.id, aggregate.version, state))

    async def _put_snapshot(self, aggregate: type[Aggregate], stream: str, version: int, state: bytes) -> None:
        row = {"stream": stream, "version": version, "shape": snapshots.shape(aggregate), "state": state}
        try:
            await self.database.execute(QUERIES["put_snapshot"], row)
        except StoreError as error:  # until the next snapshot loading takes longer
            log.warning("snapshot_not_kept", stream=stream, version=version, error=str(error))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _decided(result: Decision, loaded: Sequence[Aggregate | None]) -> Sequence[Aggregate]:
    """Return the aggregates that a command returned; for a method without such a result, the loaded ones."""
    if isinstance(result, Aggregate):
        return [result]
    if result is None or isinstance(result, bool):
        return [aggregate for aggregate in loaded if aggregate is not None]
    return result


def _unchanged(read: Sequence[Aggregate | None], changed: Mapping[str, int]) -> list[Statement]:
    """Return the statement that fails if an aggregate that was read, and not changed, has moved on."""
    seen = {aggregate.id: aggregate.version for aggregate in read if aggregate is not None}
    only_seen = {stream: version for stream, version in seen.items() if stream not in changed}
    if not only_seen:
        return []
    return [Statement(APPEND["unchanged"], {"streams": list(only_seen), "versions": list(only_seen.values())})]


class SyncLog:
    """The log for threads: actors, the CLI, scripts. Each call waits for the log's own event loop."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def run(self, command: Command, *keys: Key, meta: Meta, **arguments: Any) -> Recorded:
        """`EventLog.run` from another thread."""
        return self.wait(self._log.run(command, *keys, meta=meta, **arguments))

    def record(self, aggregates: Sequence[Aggregate], *, meta: Meta, contents: Sequence[Content] = ()) -> Recorded:
        """`EventLog.record` from another thread."""
        return self.wait(self._log.record(aggregates, meta=meta, contents=contents))

    def load(self, key: Key) -> Any:
        """`EventLog.load` from another thread."""
        return self.wait(self._log.load(key))

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run any coroutine on the log's loop. Raises RuntimeError on that loop's own thread, where it would hang."""
        if asyncio._get_running_loop() is self._log.loop:
            work.close()
            raise RuntimeError(
                "The log's synchronous face was called on its own event loop: await the log itself there"
            )
        return asyncio.run_coroutine_threadsafe(work, self._log.loop).result()
