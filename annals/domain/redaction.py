"""What may be told of events and aggregates, and how one state differs from another; secrets by fingerprints alone."""

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
"""Fields by which a secret could be looked for, told to nobody."""

_COMMON = frozenset(AggregateEvent.__struct_fields__) | {"originator_topic"}
_SEALED = "sealed"
_EMPTY: tuple[object, ...] = (None, "", [], {})
_NEXT_WORD = re.compile(r"_([a-z0-9])")

Tree = dict[str, Any]


class Change(NamedTuple):
    """One field that differs, by its path; None stands for no value."""

    field: str
    former: Any
    latter: Any


class SealedValue:
    """A sealed value that is no secret: callers with the data key may open it. It equals its fingerprint."""

    __slots__ = ("fingerprint", "sealed", "variable_id")

    def __init__(self, fingerprint: str, variable_id: str, sealed: str) -> None:
        self.fingerprint, self.variable_id, self.sealed = fingerprint, variable_id, sealed

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == (other.fingerprint if isinstance(other, SealedValue) else other)

    def __hash__(self) -> int:
        return hash(self.fingerprint)


def told(event: Any) -> Tree:
    """The fields that an event alone has, by the names of the wire."""
    return _fields(event, {name: getattr(event, name) for name in event.__struct_fields__ if name not in _COMMON})


def described(aggregate: Aggregate | None) -> Tree:
    """Everything that an aggregate is, one value for each path; what is empty is left out, and so is nobody's state."""
    if aggregate is None:
        return {}
    state = {name: value for name, value in vars(aggregate).items() if not name.startswith("_")}
    configuration = state.pop("configuration", None)
    tree = {**_fields(aggregate, state), **(told_value(configuration) if configuration is not None else {})}
    return {path: value for path, value in _leaves(tree, "") if value not in _EMPTY}


def openable(aggregate: Aggregate | None) -> Tree:
    """Return what `described` does, with a SealedValue in place of the fingerprint of a value that is no secret."""
    tree = described(aggregate)
    if isinstance(aggregate, VariableOwner):
        for variable in aggregate.variables.values():
            path = f"variables.{variable.variable_id}.value"
            if not variable.secret and path in tree:
                tree[path] = SealedValue(tree[path], variable.variable_id, variable.sealed)
    return tree


def differences(former: Tree, latter: Tree) -> list[Change]:
    """The fields that differ between two descriptions, in the order of their names."""
    paths = sorted(former.keys() | latter.keys())
    pairs = ((path, former.get(path), latter.get(path)) for path in paths)
    return [Change(path, one, other) for path, one, other in pairs if one != other]


def told_value(value: Any) -> Any:
    """Any part of an event or a state."""
    if isinstance(value, msgspec.Struct):
        hidden = HIDDEN.get(type(value), frozenset())
        fields = {name: getattr(value, name) for name in value.__struct_fields__ if name not in hidden}
        return _fields(value, fields)
    if isinstance(value, dict):
        return {str(key): told_value(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(told_value(item) for item in value)
    if isinstance(value, list | tuple):
        return [told_value(item) for item in value]
    return msgspec.to_builtins(value)


def _fields(owner: Any, fields: Mapping[str, Any]) -> Tree:
    tree: Tree = {}
    for name, value in fields.items():
        if name.startswith(_SEALED):
            tree[_wire(name.removeprefix(_SEALED).lstrip("_") or "value")] = _fingerprint(owner, value)
        elif name != "fingerprint":
            tree[_wire(name)] = told_value(value)
    return tree


def _fingerprint(owner: Any, sealed: Any) -> str:
    """The keyed one, which equal values share; else one of the sealed bytes, which differ every time."""
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
