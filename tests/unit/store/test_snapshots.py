"""A snapshot restores every value with its type."""

from datetime import UTC, datetime
from enum import Enum
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.domain.base import Aggregate, AggregateEvent, CreatedEvent
from annals.store.log import snapshots


class Colour(Enum):
    RED = "red"


class Part(msgspec.Struct, frozen=True):
    name: str
    made_at: datetime
    inner: dict[str, tuple[int, ...]] = {}


class Machine(Aggregate):
    TOPIC: ClassVar[str] = "machine"

    class Event(AggregateEvent, frozen=True):
        pass

    class Made(CreatedEvent, Event, frozen=True):
        TOPIC: ClassVar[str] = "machine.made"

    def __init__(self) -> None:
        self.value: Any = None


def machine(value: Any) -> Machine:
    made = Machine.start(Machine.Made, "machine:p:1", None)
    made.collect_events()
    made.value = value
    return made


moments = st.datetimes(min_value=datetime(1970, 1, 2), timezones=st.just(UTC))  # noqa: DTZ001
plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.binary()
    | moments
    | st.just(Colour.RED)
    | st.builds(Part, st.text(st.characters(codec="utf-8")), moments, st.just({"a": (1, 2)}))
)
keys = st.text(st.characters(codec="utf-8")) | st.integers(0, 9) | st.tuples(st.integers(0, 9), st.booleans())
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(st.integers(-9, 9), max_size=4)
        | st.frozensets(st.text(st.characters(codec="utf-8")), max_size=4)
    ),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Equal and of the same type all the way down: 1, 1.0 and True are equal, and a snapshot tells them apart."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return all(same(a, b) for a, b in zip(left.items(), right.items(), strict=True))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)


@given(values)
def test_every_value_comes_back_with_its_type(value: Any) -> None:
    taken = machine(value)

    restored = snapshots.restore(Machine, taken.id, taken.version, snapshots.take(taken))

    assert restored == taken
    assert same(vars(restored)["value"], value)


def test_snapshot_of_a_value_that_cannot_be_restored_raises_an_error() -> None:
    class Odd(dict[str, int]):
        pass

    for value in (object(), Odd(a=1), {1: object()}, 2**64, datetime(2026, 1, 1)):  # noqa: DTZ001
        with pytest.raises(TypeError, match="cannot hold"):
            snapshots.take(machine(value))


def test_other_code_has_another_shape() -> None:
    class Machine2(Machine):
        TOPIC: ClassVar[str] = "machine2"

        class Event(AggregateEvent, frozen=True):
            pass

        class Made(CreatedEvent, Event, frozen=True):
            TOPIC: ClassVar[str] = "machine2.made"

    assert snapshots.shape(Machine) != snapshots.shape(Machine2)
    assert snapshots.shape(Machine) == snapshots.shape(Machine)


def test_snapshot_names_no_class_that_is_no_value() -> None:
    state = msgspec.msgpack.encode(["dict", [["value", ["struct", "subprocess", "Popen", []]]]])

    with pytest.raises(TypeError, match="no class of a snapshot"):
        snapshots.restore(Machine, "machine:p:1", 1, state)
