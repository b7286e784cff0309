"""Variables of a function or a project. Keys are unique for each owner, and a secret stays secret."""

from typing import Any, ClassVar

import msgspec

from annals.domain.base import Aggregate
from annals.domain.errors import VariableAlreadyExists, VariableCannotUnsetSecret, VariableNotFound


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """`sealed` is the encrypted value; equal values of an owner have an equal `fingerprint`, a keyed digest."""

    variable_id: str
    key: str
    sealed: str
    secret: bool
    fingerprint: str = ""


class VariableOwner(Aggregate):
    """An aggregate with variables. Each subclass has its own events, since their topics differ."""

    VariableAdded: ClassVar[type[Any]]
    VariableChanged: ClassVar[type[Any]]
    VariableRemoved: ClassVar[type[Any]]

    variables: dict[str, Variable]

    def add_variable(self, variable: Variable) -> None:
        """Add a variable. Raises VariableAlreadyExists for a used id or key."""
        if variable.variable_id in self.variables:
            raise VariableAlreadyExists
        self._require_unused_key(variable)
        self.trigger_event(self.VariableAdded, variable=variable)

    def change_variable(
        self, variable_id: str, *, key: str | None, sealed: tuple[str, str] | None, secret: bool | None
    ) -> None:
        """Change the fields that are not None; `sealed` is the new value with its fingerprint.

        Raises VariableNotFound, VariableCannotUnsetSecret, VariableAlreadyExists for a used key.
        """
        variable, changed = _revised(self.variable(variable_id), key=key, sealed=sealed, secret=secret)
        self._require_unused_key(variable)
        self.trigger_event(self.VariableChanged, variable=variable, changed=changed)

    def remove_variable(self, variable_id: str) -> None:
        """Remove a variable. Raises VariableNotFound."""
        self.variable(variable_id)
        self.trigger_event(self.VariableRemoved, variable_id=variable_id)

    def variable(self, variable_id: str) -> Variable:
        """Return a variable. Raises VariableNotFound."""
        try:
            return self.variables[variable_id]
        except KeyError:
            raise VariableNotFound from None

    def _require_unused_key(self, variable: Variable) -> None:
        if any(v.key == variable.key and v.variable_id != variable.variable_id for v in self.variables.values()):
            raise VariableAlreadyExists


def _revised(
    former: Variable, *, key: str | None, sealed: tuple[str, str] | None, secret: bool | None
) -> tuple[Variable, list[str]]:
    """Return a variable with the given changes, and the names of the changed fields."""
    if former.secret and secret is False:
        raise VariableCannotUnsetSecret
    value, fingerprint = sealed or (former.sealed, former.fingerprint)
    variable = Variable(
        variable_id=former.variable_id,
        key=former.key if key is None else key,
        sealed=value,
        secret=former.secret if secret is None else secret,
        fingerprint=fingerprint,
    )
    differs = {
        "key": variable.key != former.key,
        "value": sealed is not None and fingerprint != former.fingerprint,
        "secret": variable.secret != former.secret,
    }
    return variable, [name for name, different in differs.items() if different]
