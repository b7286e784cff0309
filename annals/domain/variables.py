"""Variables, of a function or of a project: keys are unique among those of one owner, and a secret stays one."""

from typing import Any, ClassVar

import msgspec

from annals.domain.base import Aggregate
from annals.domain.errors import VariableAlreadyExists, VariableCannotUnsetSecret, VariableNotFound


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """`sealed` is the encrypted value, `fingerprint` a keyed digest by which equal values are known."""

    variable_id: str
    key: str
    sealed: str
    secret: bool
    fingerprint: str = ""


class VariableOwner(Aggregate):
    """An aggregate with variables; the events are its own, since their topics are."""

    VariableAdded: ClassVar[type[Any]]
    VariableChanged: ClassVar[type[Any]]
    VariableRemoved: ClassVar[type[Any]]

    variables: dict[str, Variable]

    def add_variable(self, variable: Variable) -> None:
        """Raises VariableAlreadyExists for a taken id or key."""
        if variable.variable_id in self.variables:
            raise VariableAlreadyExists
        self._refuse_key_in_use(variable)
        self.trigger_event(self.VariableAdded, variable=variable)

    def change_variable(
        self, variable_id: str, *, key: str | None, sealed: tuple[str, str] | None, secret: bool | None
    ) -> None:
        """Change what is given; `sealed` is the new value with its fingerprint. None keeps.

        Raises VariableNotFound, VariableCannotUnsetSecret, VariableAlreadyExists for a taken key.
        """
        variable, changed = _revised(self.variable(variable_id), key=key, sealed=sealed, secret=secret)
        self._refuse_key_in_use(variable)
        self.trigger_event(self.VariableChanged, variable=variable, changed=changed)

    def remove_variable(self, variable_id: str) -> None:
        """Raises VariableNotFound."""
        self.variable(variable_id)
        self.trigger_event(self.VariableRemoved, variable_id=variable_id)

    def variable(self, variable_id: str) -> Variable:
        """Raises VariableNotFound."""
        try:
            return self.variables[variable_id]
        except KeyError:
            raise VariableNotFound from None

    def _refuse_key_in_use(self, variable: Variable) -> None:
        if any(v.key == variable.key and v.variable_id != variable.variable_id for v in self.variables.values()):
            raise VariableAlreadyExists


def _revised(
    former: Variable, *, key: str | None, sealed: tuple[str, str] | None, secret: bool | None
) -> tuple[Variable, list[str]]:
    """A variable with what is given, and the names of what differs."""
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
