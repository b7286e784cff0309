"""The table of an operation: names, kinds, defaults, in the order in which they are judged."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from annals.app.parameters.kinds import ParameterKind, ValidationError
from annals.domain.errors import ArgumentInvalid

_REQUIRED: Any = object()


class Parameter(NamedTuple):
    """One line of a table; a `default` that is a list is copied for every request."""

    kind: ParameterKind
    default: Any

    @property
    def is_optional(self) -> bool:
        return self.default is not _REQUIRED


def required(kind: ParameterKind) -> Parameter:
    """Must be sent; null is judged as any other value."""
    return Parameter(kind, _REQUIRED)


def optional(kind: ParameterKind, default: Any = None) -> Parameter:
    """May be missing or null: then the default stands."""
    return Parameter(kind, default)


class Parameters:
    """An operation's parameters, by their wire names and in declaration order."""

    def __init__(self, **parameters: Parameter) -> None:
        self.lines = tuple(parameters.items())

    def but(self, **parameters: Parameter) -> "Parameters":
        """The same table with some lines changed (in place) or added (at the end)."""
        return Parameters(**{**dict(self.lines), **parameters})

    def parse(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Judge what was sent, first failure first. Raises ArgumentInvalid; unknown names are ignored."""
        values: dict[str, Any] = {}
        for name, (kind, default) in self.lines:
            value = sent.get(name)
            if name not in sent and default is _REQUIRED:
                raise ArgumentInvalid(f'Param "{name}" is not optional.')
            if value is None and default is not _REQUIRED:
                values[name] = list(default) if isinstance(default, list) else default
                continue
            try:
                values[name] = kind.parse(value)
            except ValidationError as invalid:
                raise ArgumentInvalid(f"Invalid `{name}` param: {invalid}") from None
        return values


class StrictParameters(Parameters):
    """A table that refuses names which it does not hold, for operations that stock clients do not know."""

    def parse(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ArgumentInvalid."""
        self.refuse_unknown(sent)
        return super().parse(sent)

    def refuse_unknown(self, sent: Mapping[str, Any]) -> None:
        """Raises ArgumentInvalid for the first unknown name, also of one within a group."""
        lines = dict(self.lines)
        for name, value in sent.items():
            if name not in lines:
                raise ArgumentInvalid(f"Invalid `{name}` param: There is no such name. Known are {', '.join(lines)}")
            group = lines[name].kind
            if isinstance(group, ParameterGroup) and isinstance(value, Mapping):
                try:
                    group.table.refuse_unknown(value)
                except ArgumentInvalid as refusal:
                    raise ArgumentInvalid(f"Invalid `{name}` param: {refusal}") from None


class ParameterGroup:
    """An object with a table of its own; what is not named in it has its default, and unknown names are refused."""

    def __init__(self, **parameters: Parameter) -> None:
        self.table = StrictParameters(**parameters)

    def parse(self, value: Any) -> dict[str, Any]:
        if value == []:
            value = {}
        if not isinstance(value, Mapping):
            raise ValidationError(self.describe())
        try:
            return self.table.parse(value)
        except ArgumentInvalid as refusal:
            raise ValidationError(str(refusal)) from None

    def describe(self) -> str:
        return f"Value must be an object of {', '.join(name for name, _ in self.table.lines)}"
