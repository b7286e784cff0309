"""Parses a query from the wire: a JSON object in a string."""

from typing import Any, Final

import msgspec

from annals.app.parameters.kinds import ValidationError
from annals.domain.decoding import UNREADABLE

COMPARE_ONE: Final = frozenset(
    {"notEqual", "lessThan", "lessThanEqual", "greaterThan", "greaterThanEqual", "startsWith", "notStartsWith"}
    | {"endsWith", "notEndsWith", "search", "notSearch"}
)
COMPARE_TWO: Final = frozenset({"between", "notBetween"})
COMPARE_NONE: Final = frozenset({"isNull", "isNotNull"})
CONTAIN: Final = frozenset({"contains", "containsAny", "containsAll", "notContains"})
FILTERS: Final = COMPARE_ONE | COMPARE_TWO | COMPARE_NONE | CONTAIN | {"equal"}
LOGIC: Final = frozenset({"and", "or"})
ORDERS: Final = frozenset({"orderAsc", "orderDesc", "orderRandom"})
CURSORS: Final = frozenset({"cursorAfter", "cursorBefore"})
METHODS: Final = FILTERS | LOGIC | ORDERS | CURSORS | {"limit", "offset", "select"}
_DEEPEST: Final = 16


class Query(msgspec.Struct, frozen=True):
    """One query. The `values` of `and` and `or` are queries themselves."""

    method: str
    attribute: str = ""
    values: list[Any] = []


def read(text: object) -> Query:
    """Return one element of `queries`. Raises ValidationError with the text that follows `Invalid query: `."""
    if not isinstance(text, str):
        raise ValidationError(f"Invalid query. Must be a string, got {_type(text)}")
    try:
        decoded = msgspec.json.decode(text)
    except UNREADABLE:
        raise ValidationError("Invalid query: Syntax error") from None
    return _build(decoded, 0)


def _build(decoded: object, depth: int) -> Query:
    if isinstance(decoded, list):
        decoded = {}
    if not isinstance(decoded, dict):
        raise ValidationError(f"Invalid query. Must be an array, got {_type(decoded)}")
    method, attribute, values = (decoded.get(name, missing) for name, missing in _FIELDS)
    if not isinstance(method, str):
        raise ValidationError(f"Invalid query method. Must be a string, got {_type(method)}")
    if method not in METHODS:
        raise ValidationError(f"Invalid query method: {method}")
    if not isinstance(attribute, str):
        raise ValidationError(f"Invalid query attribute. Must be a string, got {_type(attribute)}")
    if isinstance(values, dict):
        values = list(values.values())
    if not isinstance(values, list):
        raise ValidationError(f"Invalid query values. Must be an array, got {_type(values)}")
    if method in LOGIC:
        if depth == _DEEPEST:
            raise ValidationError("Invalid query. It is nested too deeply")
        values = [_build(value, depth + 1) for value in values]
    return Query(method, attribute, values)


_FIELDS: Final[tuple[tuple[str, object], ...]] = (("method", ""), ("attribute", ""), ("values", []))
_TYPES: Final = {bool: "boolean", int: "integer", float: "double", str: "string", list: "array", dict: "array"}


def _type(value: object) -> str:
    """Return the name of a value's type in the language of the reference."""
    return _TYPES.get(type(value), "NULL")
