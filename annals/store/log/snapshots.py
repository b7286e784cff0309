"""Snapshots: an aggregate's state as bytes that restore every type, valid only for the code that made them.

They cache the fold of a stream. A program ignores snapshots of other code, so no version number has to be maintained.
"""

import hashlib
import importlib
import inspect
import sys
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any

import msgspec

from annals.domain.base import Aggregate

_PLAIN = (bool, int, float, str, bytes, datetime, type(None))
_SEQUENCES: dict[str, type[Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


@cache
def shape(aggregate: type[Aggregate]) -> str:
    """Return a digest of the modules that define an aggregate and its bases, on which a snapshot depends."""
    modules = [cls.__module__ for cls in aggregate.__mro__ if issubclass(cls, Aggregate)]
    sources = [inspect.getsource(sys.modules[name]) for name in dict.fromkeys(modules)]
    return hashlib.sha256("\0".join([aggregate.__qualname__, *sources]).encode()).hexdigest()[:32]


def take(aggregate: Aggregate) -> bytes:
    """Return an aggregate's state as bytes. Raises TypeError for a value that could not be restored unchanged."""
    state = {
        name: value for name, value in vars(aggregate).items() if name not in {"_id", "_version", "_pending_events"}
    }
    try:
        return msgspec.msgpack.encode(_tagged(state))
    except OverflowError as error:
        raise TypeError(f"A snapshot cannot hold an integer of more than 64 bits: {error}") from error


def restore(aggregate: type[Aggregate], stream: str, version: int, state: bytes) -> Aggregate:
    """Return the aggregate of a state that `take` returned."""
    restored = object.__new__(aggregate)
    vars(restored).update(_untagged(msgspec.msgpack.decode(state)))
    vars(restored).update(_id=stream, _version=version, _pending_events=[])
    return restored


def _tagged(value: Any) -> Any:
    if type(value) in _PLAIN and not (isinstance(value, datetime) and value.tzinfo is None):
        return value
    if isinstance(value, Enum):
        return ["enum", *_path(value), value.value]
    if isinstance(value, msgspec.Struct):
        return ["struct", *_path(value), [[n, _tagged(getattr(value, n))] for n in value.__struct_fields__]]
    if type(value) is dict:
        return ["dict", [[_tagged(key), _tagged(item)] for key, item in value.items()]]
    if type(value) in {set, frozenset}:  # sorted, so that equal states are equal bytes
        return [type(value).__name__, sorted((_tagged(item) for item in value), key=repr)]
    if _SEQUENCES.get(type(value).__name__) is type(value):
        return [type(value).__name__, [_tagged(item) for item in value]]
    raise TypeError(f"A snapshot cannot hold a {type(value).__qualname__}")


def _untagged(value: Any) -> Any:
    if type(value) is not list:
        return value
    tag, content = value[0], value[-1]
    if tag == "dict":
        return {_untagged(key): _untagged(item) for key, item in content}
    if tag == "struct":
        return _class(value[1], value[2])(**{name: _untagged(item) for name, item in content})
    if tag == "enum":
        return _class(value[1], value[2])(content)
    return _SEQUENCES[tag](_untagged(item) for item in content)


def _path(value: object) -> tuple[str, str]:
    return type(value).__module__, type(value).__qualname__


@cache
def _class(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, msgspec.Struct | Enum)):
        raise TypeError(f"{module}.{name} is no class of a snapshot's value")
    return found
