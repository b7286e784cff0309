"""The parameter table of an operation: names, kinds and defaults, in the order of validation."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from annals.app.parameters.kinds import ParameterKind, ValidationError
from annals.domain.errors import ArgumentInvalid

_REQUIRED: Any = object()


class Parameter(NamedTuple):
    """One line of a table. A `default` that is a list is copied for every request."""

    kind: ParameterKind
    default: Any

    @property
    def is_optional(self) -> bool:
        return self.default is not _REQUIRED


def required(kind: ParameterKind) -> Parameter:
    """Return a parameter that must be sent. Null is parsed as any other value."""
    return Parameter(kind, _REQUIRED)


def optional(kind: ParameterKind, default: Any = None) -> Parameter:
    """Return a parameter that may be missing or null. Then it has the default."""
    return Parameter(kind, default)


class Parameters:
    """An operation's parameters, by their wire names and in declaration order."""

    def __init__(self, **parameters: Parameter) -> None:
        self.lines = tuple(parameters.items())

    def but(self, **parameters: Parameter) -> "Parameters":
        """Return the same table with some lines changed (in their position) or added (at the end)."""
        return Parameters(**{**dict(self.lines), **parameters})

    def parse(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Parse the sent parameters in order. Raises ArgumentInvalid for the first error; unknown names are ignored."""
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
    """A table that rejects unknown names, for operations that stock clients do not know."""

    def parse(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Parse the sent parameters. Raises ArgumentInvalid, also for unknown names."""
        self.refuse_unknown(sent)
        return super().parse(sent)

    def refuse_unknown(self, sent: Mapping[str, Any]) -> None:
        """Raise ArgumentInvalid for the first unknown name, also within a group."""
        lines = dict(self.lines)
        for name, value in sent.items():
            if name not in lines:
                raise ArgumentInvalid(f"Invalid `{name}` param: The name is unknown. Known are {', '.join(lines)}")
            group = lines[name].kind
            if isinstance(group, ParameterGroup) and isinstance(value, Mapping):
                try:
                    group.table.refuse_unknown(value)
                except ArgumentInvalid as error:
                    raise ArgumentInvalid(f"Invalid `{name}` param: {error}") from None


class ParameterGroup:
    """An object with a table of its own. Missing names have their defaults, and unknown names are rejected."""

    def __init__(self, **parameters: Parameter) -> None:
        self.table = StrictParameters(**parameters)

    def parse(self, value: Any) -> dict[str, Any]:
        if value == []:
            value = {}
        if not isinstance(value, Mapping):
            raise ValidationError(self.describe())
        try:
            return self.table.parse(value)
        except ArgumentInvalid as error:
            raise ValidationError(str(error)) from None

    def describe(self) -> str:
        return f"Value must be an object of {', '.join(name for name, _ in self.table.lines)}"
