"""Events to bytes and back."""

import json
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
import pytest
from eventsourcing.persistence import StoredEvent
from hypothesis import given
from hypothesis import strategies as st

from annals.domain.base import Aggregate, AggregateEvent, CreatedEvent
from annals.store.errors import UnknownTopic, UnreadableEvent
from annals.store.log.mapper import EventMapper, Upcast


class Size(msgspec.Struct, frozen=True):
    width: int
    label: str = ""


class Crate(Aggregate):
    TOPIC: ClassVar[str] = "crate"

    class Event(AggregateEvent, frozen=True):
        pass

    class Built(CreatedEvent, Event, frozen=True):
        TOPIC: ClassVar[str] = "crate.built@3"
        size: Size
        due: datetime | None = None
        tags: list[str] = msgspec.field(default_factory=list)

    def __init__(self, size: Size, due: datetime | None, tags: list[str]) -> None:
        self.size, self.due, self.tags = size, due, tags


def built(stream: str = "crate:p:1", version: int = 1, **recorded_events: Any) -> Any:
    return Crate.Built(
        originator_topic="crate",
        originator_id=stream,
        originator_version=version,
        **{"size": Size(1), **recorded_events},
    )


texts = st.text(st.characters(codec="utf-8"), max_size=40)
moments = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(
    st.builds(
        built,
        texts,
        st.integers(1, 2**62),
        size=st.builds(Size, st.integers(-(2**60), 2**60), texts),
        due=st.none() | moments,
        tags=st.lists(texts, max_size=3),
        metadata=st.dictionaries(texts, texts, max_size=3),
    )
)
def test_every_event_comes_back_as_it_was(event: Any) -> None:
    mapper = EventMapper()

    assert mapper.to_domain_event(mapper.to_stored_event(event)) == event


def test_stored_state_leaves_out_stream_and_version() -> None:
    stored = EventMapper().to_stored_event(built())

    assert stored.topic == "crate.built@3"
    assert not {"originator_id", "originator_version"} & json.loads(stored.state).keys()


def test_state_spells_out_fields_at_their_default_since_a_default_may_change() -> None:
    assert json.loads(EventMapper().to_stored_event(built()).state)["tags"] == []


def test_event_stored_before_a_field_was_added_gets_its_default() -> None:
    stored = EventMapper().to_stored_event(built())
    state = json.loads(stored.state)
    del state["tags"]

    event = EventMapper().decode("crate:p:1", 1, stored.topic, json.dumps(state).encode())

    assert event.tags == []


def test_old_topic_is_brought_up_step_by_step() -> None:
    def widen(state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "size": {"width": state.pop("width")}}

    def label(state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "size": {**state["size"], "label": "old"}}

    mapper = EventMapper(
        {"crate.built": Upcast("crate.built@2", widen), "crate.built@2": Upcast("crate.built@3", label)}
    )
    state = {"originator_topic": "crate", "timestamp": "2026-01-01T00:00:00Z", "metadata": {}, "width": 7}

    event = mapper.decode("crate:p:1", 4, "crate.built", json.dumps(state).encode())

    assert event.size == Size(7, "old")
    assert (event.originator_id, event.originator_version) == ("crate:p:1", 4)


@pytest.mark.parametrize("topic", ["crate.exploded", "os:system", "json", ""])
def test_topic_that_no_event_has_is_refused_and_nothing_is_imported_for_it(topic: str) -> None:
    with pytest.raises(UnknownTopic, match="register an upcast"):
        EventMapper().to_domain_event(StoredEvent("crate:p:1", 1, topic, b"{}"))


@pytest.mark.parametrize("state", [b"", b"{", b"[]", b'{"size":{"width":"wide"}}', b"\xff\xfe"])
def test_state_that_does_not_fit_its_class_says_which_event_it_is(state: bytes) -> None:
    with pytest.raises(UnreadableEvent, match="Event 9 of crate:p:1"):
        EventMapper().decode("crate:p:1", 9, "crate.built@3", state)


def test_class_without_a_topic_is_not_stored() -> None:
    event = Aggregate.Event(originator_id="x:p:1", originator_version=1)

    with pytest.raises(UnknownTopic, match="has no TOPIC"):
        EventMapper().to_stored_event(event)
