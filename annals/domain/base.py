"""What all aggregates share: events as msgspec structs, streams that may begin again after a deletion."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Self

import msgspec
from eventsourcing.domain import BaseAggregate, CanInitAggregate, CanMutateAggregate, datetime_now_with_tzinfo

from annals.domain.errors import DomainError


class AggregateEvent(CanMutateAggregate[str], msgspec.Struct, frozen=True, kw_only=True):
    """A fact. Field names and meanings are a storage format: add with a default, never rename."""

    originator_id: str
    originator_version: int
    timestamp: datetime = msgspec.field(default_factory=datetime_now_with_tzinfo)
    metadata: dict[str, str] = msgspec.field(default_factory=dict)

    REQUIRES_PROJECT: ClassVar[bool] = True
    """Whether the append requires the incarnation of the project that its request was authorized for.

    False for a call's own course: the incarnation of its function guards it, and no function outlives its project.
    """

    ENDS_PROJECT: ClassVar[bool] = False
    """Whether the append removes a project's rows, and its data key."""

    def _as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__struct_fields__}


class CreatedEvent(CanInitAggregate[str], AggregateEvent, frozen=True, kw_only=True):
    """The first fact of an incarnation."""

    originator_topic: str


class Key(NamedTuple):
    """A stream to load for a command; `missing` None means it may be absent (the id is about to be taken)."""

    aggregate: "type[Aggregate]"
    stream: str
    missing: type[DomainError] | None


class Aggregate(BaseAggregate[str]):
    """Public methods refuse and decide; an event's `apply` only assigns, for it also runs on replay."""

    SNAPSHOT_EVERY: ClassVar[int] = 0
    Event = AggregateEvent

    deleted = False

    @classmethod
    def start(cls, created: type[CreatedEvent], stream: str, former: "Aggregate | None", **facts: Any) -> Self:
        """Begin a stream, or a new incarnation behind a tombstone."""
        event = created(
            originator_topic=cls.TOPIC,  # type: ignore[attr-defined]
            originator_id=stream,
            originator_version=1 if former is None else former.version + 1,
            **facts,
        )
        aggregate = event.mutate(None)
        if not isinstance(aggregate, cls):
            raise TypeError(f"{created} does not create a {cls.__name__}")
        aggregate.pending_events.append(event)
        return aggregate

    @property
    def changes(self) -> Sequence[CanMutateAggregate[str]]:
        """What was decided and is not recorded yet."""
        return self.pending_events
