"""The schema of a list: the attributes that queries may name, with their types and columns."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from annals.app.parameters.kinds import ValidationError, as_integer

Type = Literal["text", "boolean", "integer", "float", "date", "sequence"]
_YEAR = re.compile(r"[0-9]{4}-", re.ASCII)


class Attribute(NamedTuple):
    """One filterable attribute: its SQL expression, and whether that may be null."""

    type: Type
    column: str
    nullable: bool = False


class Schema(NamedTuple):
    """One list: its table, the column of ids, and the attributes that queries may name.

    `columns` are the wire names of the fields that `select` may name; it is empty if the list has no `select`. `order`
    is the column of insertion order.
    """

    table: str
    id_column: str
    noun: str
    attributes: Mapping[str, Attribute]
    columns: frozenset[str] = frozenset()
    order: str = "sequence"


def schema(
    table: str,
    id_column: str,
    noun: str,
    columns: frozenset[str] = frozenset(),
    **attributes: Attribute,
) -> Schema:
    """Return the schema of a list with the attributes that every resource has."""
    everywhere = {
        "$id": Attribute("text", id_column),
        "$createdAt": Attribute("date", "created_at"),
        "$updatedAt": Attribute("date", "updated_at"),
        "$sequence": Attribute("sequence", "sequence"),
    }
    return Schema(table, id_column, noun, {**everywhere, **attributes}, columns)


def text(column: str) -> Attribute:
    return Attribute("text", column)


def integer(column: str) -> Attribute:
    return Attribute("integer", column)


def boolean(column: str) -> Attribute:
    return Attribute("boolean", column)


def decimal(column: str) -> Attribute:
    return Attribute("float", column)


def date(column: str, *, nullable: bool = False) -> Attribute:
    return Attribute("date", column, nullable)


def fit(attribute: Attribute, value: object) -> Any:
    """Return the value as its column takes it. Raises ValidationError: types are strict, and "15" is not an integer."""
    match attribute.type:
        case "text" if isinstance(value, str) and "\0" not in value:
            return value
        case "boolean" if isinstance(value, bool):
            return value
        case "integer" if _whole(value) and -(2**31) <= value < 2**31:  # type: ignore[operator]
            return int(value)  # type: ignore[call-overload]
        case "float" if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        case "sequence" if (number := as_integer(value)) is not None and abs(number) < 2**63:
            return number
        case "date" if isinstance(value, str) and (moment := parse_date(value)) is not None:
            return moment
    raise ValidationError


def _whole(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


def parse_date(value: str) -> datetime | None:
    """Return a date with a four-digit year, in UTC if it names no offset, or None for an invalid one."""
    if not _YEAR.match(value):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
