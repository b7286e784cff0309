"""Events and aggregates without secrets, and the differences of two states. Secrets appear as fingerprints."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from annals.domain.base import Aggregate, AggregateEvent
from annals.domain.project import ApiKey
from annals.domain.user import Session
from annals.domain.variables import VariableOwner

HIDDEN: Mapping[type, frozenset[str]] = {ApiKey: frozenset({"digest"}), Session: frozenset({"digest"})}
"""Fields that are never shown, since a secret could be searched by them."""

_COMMON = frozenset(AggregateEvent.__struct_fields__) | {"originator_topic"}
_SEALED = "sealed"
_EMPTY: tuple[object, ...] = (None, "", [], {})
_NEXT_WORD = re.compile(r"_([a-z0-9])")

Tree = dict[str, Any]


class FieldChange(NamedTuple):
    """A field that differs, by its path; None stands for no value."""

    field: str
    former: Any
    latter: Any


class SealedValue:
    """A sealed value that is no secret: code with the data key may open it. It equals its fingerprint."""

    __slots__ = ("fingerprint", "sealed", "variable_id")

    def __init__(self, fingerprint: str, variable_id: str, sealed: str) -> None:
        self.fingerprint = fingerprint
        self.variable_id = variable_id
        self.sealed = sealed

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == (other.fingerprint if isinstance(other, SealedValue) else other)

    def __hash__(self) -> int:
        return hash(self.fingerprint)


def event_fields(event: Any) -> Tree:
    """Return the fields of this kind of event, by their names on the wire."""
    return _fields(event, {name: getattr(event, name) for name in event.__struct_fields__ if name not in _COMMON})


def describe(aggregate: Aggregate | None) -> Tree:
    """Return an aggregate's state as one value for each path, without empty values; nothing for None."""
    if aggregate is None:
        return {}
    state = {name: value for name, value in vars(aggregate).items() if not name.startswith("_")}
    configuration = state.pop("configuration", None)
    tree = {**_fields(aggregate, state), **(plain_value(configuration) if configuration is not None else {})}
    return {path: value for path, value in _leaves(tree, "") if value not in _EMPTY}


def describe_openable(aggregate: Aggregate | None) -> Tree:
    """Return the same as `describe`, with a SealedValue for each variable that is no secret."""
    tree = describe(aggregate)
    if isinstance(aggregate, VariableOwner):
        for variable in aggregate.variables.values():
            path = f"variables.{variable.variable_id}.value"
            if not variable.secret and path in tree:
                tree[path] = SealedValue(tree[path], variable.variable_id, variable.sealed)
    return tree


def differences(former: Tree, latter: Tree) -> list[FieldChange]:
    """Return the fields that differ between two descriptions, in the order of their names."""
    paths = sorted(former.keys() | latter.keys())
    pairs = ((path, former.get(path), latter.get(path)) for path in paths)
    return [FieldChange(path, before, after) for path, before, after in pairs if before != after]


def plain_value(value: Any) -> Any:
    """Return a part of an event or a state as plain values, without hidden fields."""
    if isinstance(value, msgspec.Struct):
        hidden = HIDDEN.get(type(value), frozenset())
        fields = {name: getattr(value, name) for name in value.__struct_fields__ if name not in hidden}
        return _fields(value, fields)
    if isinstance(value, dict):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain_value(item) for item in value)
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    return msgspec.to_builtins(value)


def _fields(owner: Any, fields: Mapping[str, Any]) -> Tree:
    tree: Tree = {}
    for name, value in fields.items():
        if name.startswith(_SEALED):
            tree[_wire(name.removeprefix(_SEALED).lstrip("_") or "value")] = _fingerprint(owner, value)
        elif name != "fingerprint":
            tree[_wire(name)] = plain_value(value)
    return tree


def _fingerprint(owner: Any, sealed: Any) -> str:
    """Return the keyed fingerprint, equal for equal values, else a digest of the sealed bytes, which always differs."""
    if keyed := getattr(owner, "fingerprint", ""):
        return f"fingerprint:{keyed}"
    return f"sealed:{hashlib.sha256(str(sealed).encode()).hexdigest()[:16]}" if sealed else ""


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else name)
    else:
        yield path, value


def _wire(name: str) -> str:
    return _NEXT_WORD.sub(lambda match: match[1].upper(), name)
