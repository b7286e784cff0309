"""All events with sealed values are known, so that the append checks the data key of each."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from annals.application.event_log import sealed_values
from annals.domain.function import Function
from annals.domain.variables import Variable
from annals.projections import inline
from annals.store.log.mapper import event_classes

assert inline.PROJECTORS  # every aggregate is imported, so that its events are known
SEALED = "v1.key.seal.body"


def _has_sealed_value(cls: type[Any]) -> bool:
    info: Any = inspect.type_info(cls)
    return any(
        "sealed" in field.name
        or (isinstance(field.type, inspect.StructType) and any("sealed" in part.name for part in field.type.fields))
        for field in info.fields
    )


def _value(name: str, kind: Any) -> Any:
    """Return a value of a type; texts with a sealed field's name are sealed."""
    match kind:
        case inspect.StructType():
            return {field.encode_name: _value(field.name, field.type) for field in kind.fields if field.required}
        case inspect.StrType():
            return SEALED if "sealed" in name else "x"
        case inspect.IntType():
            return 1
        case inspect.BoolType():
            return True
        case inspect.DateTimeType():
            return datetime.now(UTC)
        case inspect.ListType():
            return ["value"]
        case inspect.LiteralType():
            return kind.values[0]
    raise AssertionError(f"no value for {name}: {kind}")


def _example(cls: type[Any]) -> Any:
    info: Any = inspect.type_info(cls)
    wanted = [field for field in info.fields if field.required or "sealed" in field.name]
    return msgspec.convert({field.encode_name: _value(field.name, field.type) for field in wanted}, cls)


CLASSES = {topic: cls for topic, cls in event_classes().items() if _has_sealed_value(cls)}


@pytest.mark.parametrize("topic", CLASSES)
def test_every_event_with_a_sealed_field_yields_its_value(topic: str) -> None:
    assert sealed_values(_example(CLASSES[topic])) == [SEALED]


def test_events_with_sealed_fields_are_found() -> None:
    assert {
        "function.variable_added",
        "project.variable_changed",
        "user.created",
        "user.password_set",
    } <= CLASSES.keys()


def test_value_that_an_event_repeats_is_left_out() -> None:
    variable = Variable(variable_id="v", key="renamed", sealed=SEALED, secret=True)
    event = Function.VariableChanged(
        originator_id="function:p:f", originator_version=2, variable=variable, changed=["key"]
    )

    assert sealed_values(event) == []
