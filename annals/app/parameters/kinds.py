"""The kinds of parameters that any operation may use; each says in its error what it takes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

UNIQUE = "unique()"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,35}", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


class ValidationError(ValueError):
    """A value that its kind refuses; the text follows ``Invalid `<name>` param: ``."""


class ParameterKind(Protocol):
    """`parse` turns what came over the wire into the value, or raises ValidationError."""

    def parse(self, value: Any) -> Any: ...

    def describe(self) -> str: ...


def is_uid(value: object) -> bool:
    """Whether it may name a resource."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


class Uid:
    """An id that names something which exists already."""

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
    """An id for something new, or `unique()` to have one made."""

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
    """A string of `least` to `most` characters; NUL is refused: neither Postgres nor an environment holds it."""

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
    """Text or bytes of at most `most` characters, handed on as bytes."""

    def __init__(self, most: int) -> None:
        self.most = most

    def parse(self, value: Any) -> bytes:
        if not isinstance(value, str | bytes) or len(value) > self.most:
            raise ValidationError(self.describe())
        return value.encode() if isinstance(value, str) else value

    def describe(self) -> str:
        return f"Value must be a valid string and no longer than {self.most} chars"


class Boolean:
    """JSON's two; `loose` ones also come as text or number, as forms and query strings send them."""

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
    """An integer between two bounds, which are part of it; the text of an integer will do."""

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
    """A list, or the values of a map in the order sent: `queries[a]=…` adds to a list as `queries[]=…` does."""
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else None


def as_integer(value: object) -> int | None:
    """An integer, or the text of one; 15.0, "15.0" and booleans are none."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class OneOf:
    """One of a few words; `strict` also wants their case."""

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
    """At most `most` elements, each of one kind; the text names the element that failed by its own text."""

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
    """Says in its error that null is welcome too; a null itself counts as not sent before any kind sees it."""

    def __init__(self, kind: ParameterKind) -> None:
        self.kind = kind

    def parse(self, value: Any) -> Any:
        try:
            return self.kind.parse(value)
        except ValidationError as invalid:
            raise ValidationError(f"{invalid} or null") from None

    def describe(self) -> str:
        return f"{self.kind.describe()} or null"
