"""The base of all aggregates: events are msgspec structs, and a stream may begin again after a deletion."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Self

import msgspec
from eventsourcing.domain import BaseAggregate, CanInitAggregate, CanMutateAggregate, datetime_now_with_tzinfo

from annals.domain.errors import DomainError


class AggregateEvent(CanMutateAggregate[str], msgspec.Struct, frozen=True, kw_only=True):
    """A recorded event. Its field names are a storage format: add fields with a default, never rename one."""

    originator_id: str
    originator_version: int
    timestamp: datetime = msgspec.field(default_factory=datetime_now_with_tzinfo)
    metadata: dict[str, str] = msgspec.field(default_factory=dict)

    REQUIRES_PROJECT: ClassVar[bool] = True
    """True if the append requires the incarnation of the project for which its request was authorized.

    False for later events of a call: its function's incarnation protects them, and no function outlives its project.
    """

    ENDS_PROJECT: ClassVar[bool] = False
    """True if the append removes a project's rows and its data key."""

    def _as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__struct_fields__}


class CreatedEvent(CanInitAggregate[str], AggregateEvent, frozen=True, kw_only=True):
    """The first event of an incarnation."""

    originator_topic: str


class DeletionEvent(AggregateEvent, frozen=True, kw_only=True):
    """The aggregate is deleted. Its stream may begin again."""

    def apply(self, aggregate: "Aggregate") -> None:
        aggregate.deleted = True


class Key(NamedTuple):
    """A stream to load for a command. `missing` is the error if it does not exist; None allows that (a new id)."""

    aggregate: "type[Aggregate]"
    stream: str
    missing: type[DomainError] | None


class Aggregate(BaseAggregate[str]):
    """Public methods check and decide. An event's `apply` only assigns, since it also runs on replay."""

    TOPIC: ClassVar[str]
    MISSING: ClassVar[type[DomainError] | None] = None
    """The error for a stream that does not exist; None if a stream need not exist."""

    TAKEN: ClassVar[type[DomainError]] = DomainError
    """The error for an id that is used."""

    SNAPSHOT_EVERY: ClassVar[int] = 0
    Event = AggregateEvent
    Created: ClassVar[type[CreatedEvent]]

    deleted = False

    @classmethod
    def stream(cls, project_id: str, own_id: str | None = None) -> str:
        """Return the name of a stream. Kinds with one stream for each project have no id of their own."""
        return f"{cls.TOPIC}:{project_id}" if own_id is None else f"{cls.TOPIC}:{project_id}:{own_id}"

    @classmethod
    def key(cls, project_id: str, own_id: str | None = None) -> Key:
        """Return the key of a stream that must exist."""
        return Key(cls, cls.stream(project_id, own_id), cls.MISSING)

    @classmethod
    def absent(cls, project_id: str, own_id: str | None = None) -> Key:
        """Return the key of a stream that may be absent."""
        return Key(cls, cls.stream(project_id, own_id), None)

    @classmethod
    def create(cls, former: "Aggregate | None", *, project_id: str, **fields: Any) -> Self:
        """Create an aggregate; `fields` are the other fields of `Created`. Raises TAKEN unless `former` is deleted."""
        if former is not None and not former.deleted:
            raise cls.TAKEN
        stream = cls.stream(project_id, fields.get(f"{cls.TOPIC}_id"))
        return cls.start(cls.Created, stream, former, project_id=project_id, **fields)

    @classmethod
    def start(cls, created: type[CreatedEvent], stream: str, former: "Aggregate | None", **fields: Any) -> Self:
        """Begin a stream, or a new incarnation after a deletion."""
        event = created(
            originator_topic=cls.TOPIC,
            originator_id=stream,
            originator_version=1 if former is None else former.version + 1,
            **fields,
        )
        aggregate = event.mutate(None)
        if not isinstance(aggregate, cls):
            raise TypeError(f"{created} does not create a {cls.__name__}")
        aggregate.pending_events.append(event)
        return aggregate

    @property
    def changes(self) -> Sequence[CanMutateAggregate[str]]:
        """The events that are not recorded yet."""
        return self.pending_events
