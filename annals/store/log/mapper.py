"""Events to bytes and back: JSON typed by the event's class, which its topic names, never an import path."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
from eventsourcing.domain import BaseAggregate, CanMutateAggregate, DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent

from annals.domain.decoding import UNREADABLE
from annals.store.errors import UnknownTopic, UnreadableEvent
from annals.store.log.compact_states import PREFIX, compact, plain

Event = Any
"""A domain event: a frozen msgspec struct with originator_id, originator_version, timestamp and metadata."""

State = dict[str, Any]


class Upcast(NamedTuple):
    """How a state of an old topic becomes a state of `topic`, as of `function.created` one of `function.created@2`."""

    topic: str
    change: Callable[[State], State]


def event_classes() -> dict[str, type[Any]]:
    """Return the event classes of all imported aggregates by topic."""
    return {cls.TOPIC: cls for aggregate in _below(BaseAggregate) for cls in _events_of(aggregate)}


def aggregate_classes() -> dict[str, type[Any]]:
    """Return the imported aggregate classes by the first part of their streams' names."""
    return {cls.TOPIC: cls for cls in _below(BaseAggregate) if "TOPIC" in vars(cls)}


def _below(cls: type[Any]) -> Iterator[type[Any]]:
    for child in cls.__subclasses__():
        yield child
        yield from _below(child)


def _events_of(aggregate: type[Any]) -> Iterator[Any]:
    if "TOPIC" in vars(aggregate):
        for value in vars(aggregate).values():
            if isinstance(value, type) and issubclass(value, CanMutateAggregate) and hasattr(value, "TOPIC"):
                yield value


class EventMapper(Mapper[str]):
    """The library's mapper over msgspec.

    A stored state has no stream and no version, since these are columns. Reading puts them back before the bytes, so
    that one typed pass decodes the event.

    While `compacts` is set, states of executions are stored compressed. Reading accepts both forms.
    """

    compacts = False

    def __init__(self, upcasts: dict[str, Upcast] | None = None) -> None:
        super().__init__(transcoder=JSONTranscoder())
        self._upcasts = upcasts or {}
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {}
        self._encoder = msgspec.json.Encoder()

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        """Encode an event. Raises UnknownTopic for a class without a `TOPIC`."""
        event: Any = domain_event
        topic = getattr(type(event), "TOPIC", "")
        if not topic:
            raise UnknownTopic(f"{type(event).__qualname__} has no TOPIC: an event is stored under a name of its own")
        state = msgspec.structs.asdict(event)
        stream, version = state.pop("originator_id"), state.pop("originator_version")
        return StoredEvent(stream, version, topic, self.stored(topic, self._encoder.encode(state)))

    def stored(self, topic: str, state: bytes) -> bytes:
        """Return a plain state in the form of the log's table."""
        return compact(state) if self.compacts and topic.startswith(PREFIX) else state

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """Decode an event. Raises UnknownTopic and UnreadableEvent."""
        stream, version = str(stored_event.originator_id), stored_event.originator_version
        return self.decode(stream, version, stored_event.topic, stored_event.state)

    def decode(self, stream: str, version: int, topic: str, state: bytes) -> Event:
        """Decode an event from the columns of its row. Raises UnknownTopic and UnreadableEvent."""
        decoder = self._decoders.get(topic)
        if decoder is not None and '"' not in stream and "\\" not in stream:  # nearly always: nothing to escape
            head = b'{"originator_id":"%b","originator_version":%d,%b'
            try:  # a context manager would cost as much as the decoding
                return decoder.decode(head % (stream.encode(), version, plain(state)[1:]))
            except (UnreadableEvent, *UNREADABLE):
                return self._decode(stream, version, topic, state)
        return self._decode(stream, version, topic, state)

    def _decode(self, stream: str, version: int, topic: str, state: bytes) -> Event:
        state = _opened(stream, version, topic, state)
        decoder = self._decoders.get(topic)
        try:
            if decoder is None:
                if topic in self._upcasts:
                    return self._upcast(stream, version, topic, state)
                decoder = self._decoder(topic)
            return decoder.decode(_prefix(stream, version) + state[1:])
        except UNREADABLE as error:
            raise UnreadableEvent(f"Event {version} of {stream} ({topic}) cannot be read: {error}") from error

    def _decoder(self, topic: str) -> msgspec.json.Decoder[Any]:
        classes = event_classes()
        if topic not in classes:
            raise UnknownTopic(
                f"No event class has the topic {topic!r}. It was stored by another version of this program: "
                "keep the class, or register an upcast from this topic."
            )
        return self._decoders.setdefault(topic, msgspec.json.Decoder(classes[topic]))

    def _upcast(self, stream: str, version: int, topic: str, state: bytes) -> Event:
        changed: State = json.loads(state)
        while (step := self._upcasts.get(topic)) is not None:
            topic, changed = step.topic, step.change(changed)
        return self.decode(stream, version, topic, self._encoder.encode(changed))


def _opened(stream: str, version: int, topic: str, state: bytes) -> bytes:
    try:
        return plain(state)
    except UnreadableEvent as error:
        raise UnreadableEvent(f"Event {version} of {stream} ({topic}) cannot be read: {error}") from error


def _prefix(stream: str, version: int) -> bytes:
    return b'{"originator_id":%b,"originator_version":%d,' % (msgspec.json.encode(stream), version)
