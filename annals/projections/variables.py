"""Which variables a function has; their values stay sealed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from annals.domain.function import Function
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "variables.sql")


def _added(event: Function.VariableAdded) -> list[Statement]:
    return [Statement(QUERIES["added"], _whole(event), "variables")]


def _changed(event: Function.VariableChanged) -> list[Statement]:
    return [Statement(QUERIES["changed"], _whole(event), "variables")]


def _removed(event: Function.VariableRemoved) -> list[Statement]:
    return [Statement(QUERIES["removed"], {**_identity(event), "variable_id": event.variable_id})]


def _identity(event: Any) -> dict[str, object]:
    return {"stream": event.originator_id, "version": event.originator_version}


def _whole(event: Function.VariableAdded | Function.VariableChanged) -> dict[str, object]:
    variable = event.variable
    return {
        **_identity(event),
        "variable_id": variable.variable_id,
        "key": variable.key,
        "sealed": variable.sealed,
        "secret": variable.secret,
    }


PROJECTORS: Mapping[type, Callable[[Any], Sequence[Statement]]] = {
    Function.VariableAdded: _added,
    Function.VariableChanged: _changed,
    Function.VariableRemoved: _removed,
}
