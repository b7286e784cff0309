"""Parameter kinds with rules of their own: roles, events, cron, specifications, execution headers."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from annals.app.parameters.identity import LABEL, TEAM_ROLE
from annals.app.parameters.kinds import ValidationError, as_list, is_uid
from annals.domain.cron import is_cron
from annals.domain.decoding import UNREADABLE
from annals.domain.event_names import is_event_pattern, is_function_event

_HEADER_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)
_VERIFICATION = frozenset({"verified", "unverified"})
_ROLES = ("any", "guests", "users", "user", "team", "member", "label")
_PLATFORM_HEADERS = "x-appwrite-"
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""Characters that no header value may hold."""


class Roles:
    """The roles that may execute a function (http-api.md 3.5), in the order sent and with duplicates."""

    def __init__(self, most: int) -> None:
        self.most = most

    def parse(self, value: Any) -> list[str]:
        roles = as_list(value)
        if roles is None:
            raise ValidationError("Roles must be an array of strings.")
        if len(roles) > self.most:
            raise ValidationError(f"You can only provide up to {self.most} roles.")
        for role in roles:
            if not isinstance(role, str):
                raise ValidationError("Every role must be of type string.")
            _judge_role(role)
        return roles

    def describe(self) -> str:
        return "Roles must be an array of strings."


def _judge_role(role: str) -> None:
    if role == "*":
        raise ValidationError('Wildcard role "*" has been replaced. Use "any" instead.')
    if "role:" in role:
        raise ValidationError(
            'Roles using the "role:" prefix have been removed. Use "users", "guests", or "any" instead.'
        )
    word, has_id, rest = role.partition(":")
    if has_id:
        identifier, has_dimension, dimension = rest.partition("/")
    else:
        word, has_dimension, dimension = word.partition("/")
        identifier = ""
    if word not in _ROLES:
        raise ValidationError(f'Role "{role}" is not allowed. Must be one of: {", ".join(_ROLES)}.')
    _judge_identifier(word, bool(has_id), identifier)
    if has_dimension:
        _judge_dimension(word, dimension)


def _judge_identifier(word: str, sent: bool, identifier: str) -> None:
    if word in {"any", "guests", "users"}:
        if sent:
            raise ValidationError(f'Role "{word}" can not have an ID value.')
    elif not identifier:
        raise ValidationError(f'Role "{word}" must have an ID value.')
    elif not (LABEL.fullmatch(identifier) if word == "label" else is_uid(identifier)):
        raise ValidationError(f'Role "{word}" identifier value is invalid.')


def _judge_dimension(word: str, dimension: str) -> None:
    if word in {"user", "users"}:
        if dimension not in _VERIFICATION:
            raise ValidationError(f'Role "{word}" dimension value is invalid. Must be one of: verified, unverified')
    elif word != "team":
        raise ValidationError(f'Role "{word}" can not have a dimension value.')
    elif not TEAM_ROLE.fullmatch(dimension):
        raise ValidationError(f'Role "{word}" dimension value is invalid.')


class Events:
    """Patterns of events that trigger a function."""

    def __init__(self, most: int) -> None:
        self.most = most

    def parse(self, value: Any) -> list[str]:
        patterns = as_list(value)
        if patterns is None or len(patterns) > self.most:
            raise ValidationError(self.describe())
        for pattern in patterns:
            if isinstance(pattern, str) and is_function_event(pattern):
                raise ValidationError(self._text("Triggering a function on a function event is not allowed."))
            if not isinstance(pattern, str) or not is_event_pattern(pattern):
                raise ValidationError(self.describe())
        return patterns

    def describe(self) -> str:
        return self._text("Event is not valid.")

    def _text(self, element: str) -> str:
        return f"Value must a valid array no longer than {self.most} items and {element}"


class Cron:
    """A cron expression, or the empty text."""

    def parse(self, value: Any) -> str:
        if not isinstance(value, str) or (value and not is_cron(value)):
            raise ValidationError(self.describe())
        return value

    def describe(self) -> str:
        return "String must be a valid cron expression"


class SpecificationSlug:
    """The slug of a specification that this instance offers."""

    def __init__(self, slugs: Sequence[str]) -> None:
        self.slugs = tuple(slugs)

    def parse(self, value: Any) -> str:
        if value not in self.slugs:
            raise ValidationError(self.describe())
        return str(value)

    def describe(self) -> str:
        return f"Specification must be one of: {', '.join(self.slugs)}"


class ExecutionHeaders:
    """A call's headers, as an object or its JSON text. Names are returned in lower case.

    The size is checked here. `judge_headers` checks the names later, in the contract's order.
    """

    _MOST_BYTES = 65_535

    def parse(self, value: Any) -> dict[str, str]:
        if isinstance(value, str):
            try:
                value = msgspec.json.decode(value) if value else {}
            except UNREADABLE:
                raise ValidationError(self.describe()) from None
        if value == []:
            return {}
        if not isinstance(value, dict) or len(msgspec.json.encode(value)) > self._MOST_BYTES:
            raise ValidationError(self.describe())
        return {name.lower(): _header_value(item) for name, item in value.items()}

    def describe(self) -> str:
        return f"Value must be a valid object, or its JSON text, no longer than {self._MOST_BYTES} chars"


def _header_value(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else ""
    if isinstance(value, str | int | float):
        return str(value)
    raise ValidationError("Header values must be strings")


def judge_headers(headers: dict[str, str]) -> None:
    """Raise ValidationError for too many or too long headers, invalid names and names that the platform sets."""
    if len(headers) > 100:
        raise ValidationError("Too many headers: 100 at most")
    if sum(len(name.encode()) + len(value.encode()) for name, value in headers.items()) >= 16_384:
        raise ValidationError("Headers are too large: names and values take less than 16,384 bytes together")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValidationError(
                "Header names hold letters, digits and hyphens, and begin and end with a letter or digit"
            )
        if name.startswith(_PLATFORM_HEADERS):
            raise ValidationError(f"Header names must not start with {_PLATFORM_HEADERS}")
        if CONTROL.search(value):  # the HTTP servers of functions reject them, each in its own way
            raise ValidationError("Header values must not contain line breaks or control characters")
