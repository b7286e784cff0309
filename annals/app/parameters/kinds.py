"""The kinds of parameters that many operations use. Each describes in its error which values it takes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

UNIQUE = "unique()"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,35}", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


class ValidationError(ValueError):
    """An invalid value. The text follows ``Invalid `<name>` param: ``."""


class ParameterKind(Protocol):
    """`parse` returns the value of a parameter from the wire, or raises ValidationError."""

    def parse(self, value: Any) -> Any: ...

    def describe(self) -> str: ...


def is_uid(value: object) -> bool:
    """Return True if the value is a valid resource id."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


class Uid:
    """The id of an existing resource."""

    def parse(self, value: Any) -> str:
        if not is_uid(value):
            raise ValidationError(self.describe())
        return str(value)

    def describe(self) -> str:
        return (
            "UID must contain at most 36 chars. Valid chars are a-z, A-Z, 0-9, and underscore."
            " Can't start with a leading underscore"
        )


class CustomId:
    """The id of a new resource, or `unique()` to have one generated."""

    def parse(self, value: Any) -> str:
        if value != UNIQUE and not is_uid(value):
            raise ValidationError(self.describe())
        return str(value)

    def describe(self) -> str:
        return (
            "Parameter must contain at most 36 chars. Valid chars are a-z, A-Z, 0-9, period, hyphen, and underscore."
            " Can't start with a special char"
        )


class Text:
    """A string of `least` to `most` characters without NUL, which neither Postgres nor an environment can hold."""

    def __init__(self, most: int, least: int = 1) -> None:
        self.least, self.most = least, most

    def parse(self, value: Any) -> str:
        if not isinstance(value, str) or not self.least <= len(value) <= self.most or "\0" in value:
            raise ValidationError(self.describe())
        return value

    def describe(self) -> str:
        least = f"at least {self.least} chars and " if self.least else ""
        return f"Value must be a valid string and {least}no longer than {self.most} chars"


class TextOrBytes:
    """Text or bytes of at most `most` characters, returned as bytes."""

    def __init__(self, most: int) -> None:
        self.most = most

    def parse(self, value: Any) -> bytes:
        if not isinstance(value, str | bytes) or len(value) > self.most:
            raise ValidationError(self.describe())
        return value.encode() if isinstance(value, str) else value

    def describe(self) -> str:
        return f"Value must be a valid string and no longer than {self.most} chars"


class Boolean:
    """A JSON boolean. `loose` ones may also be text or numbers, as forms and query strings send them."""

    def __init__(self, *, loose: bool = False) -> None:
        self.loose = loose

    def parse(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        if self.loose and isinstance(value, str | int):
            if value in {"true", "1", 1}:
                return True
            if value in {"false", "0", 0}:
                return False
        raise ValidationError(self.describe())

    def describe(self) -> str:
        return "Value must be a valid boolean"


class IntegerRange:
    """An integer between two inclusive bounds, or its text."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def parse(self, value: Any) -> int:
        number = as_integer(value)
        if number is None or not self.least <= number <= self.most:
            raise ValidationError(self.describe())
        return number

    def describe(self) -> str:
        return f"Value must be a valid range between {self.least:,} and {self.most:,}"


def as_list(value: object) -> list[Any] | None:
    """Return a list, or the values of a map in the order sent: `queries[a]=…` adds to a list as `queries[]=…` does."""
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else None


def as_integer(value: object) -> int | None:
    """Return an integer, also from its text, or None for others: 15.0, "15.0" and booleans."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class OneOf:
    """One of a few words. `strict` compares their case too."""

    def __init__(self, words: Sequence[str], *, strict: bool = True) -> None:
        self.words, self.strict = tuple(words), strict
        self._known = {word if strict else word.lower(): word for word in self.words}

    def parse(self, value: Any) -> str:
        word = self._known.get(value if self.strict else value.lower()) if isinstance(value, str) else None
        if word is None:
            raise ValidationError(self.describe())
        return word

    def describe(self) -> str:
        return f"Value must be one of ({', '.join(self.words)})"


class ArrayList:
    """At most `most` elements of one kind. The error text names the failed element's error."""

    def __init__(self, element: ParameterKind, most: int) -> None:
        self.element, self.most = element, most

    def parse(self, value: Any) -> list[Any]:
        items = as_list(value)
        if items is None or len(items) > self.most:
            raise ValidationError(self._text(self.element.describe()))
        try:
            return [self.element.parse(item) for item in items]
        except ValidationError as invalid:
            raise ValidationError(self._text(str(invalid))) from None

    def describe(self) -> str:
        return self._text(self.element.describe())

    def _text(self, element: str) -> str:
        return f"Value must a valid array no longer than {self.most} items and {element}"


class Nullable:
    """A kind whose error also allows null. A null itself counts as not sent before any kind parses it."""

    def __init__(self, kind: ParameterKind) -> None:
        self.kind = kind

    def parse(self, value: Any) -> Any:
        try:
            return self.kind.parse(value)
        except ValidationError as invalid:
            raise ValidationError(f"{invalid} or null") from None

    def describe(self) -> str:
        return f"{self.kind.describe()} or null"
