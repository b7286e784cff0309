"""Functions: their configuration, policy and active deployment, and their variables with encrypted values."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from annals.domain.deployment import Deployment
from annals.domain.function import Configuration, Function
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "functions.sql")
READING_STATEMENTS = frozenset({QUERIES["variables_of"]})
"""Statements that change no row: an append returns their rows with those of the function."""


def _created(event: Function.Created) -> list[Statement]:
    owner = {"project_id": event.project_id, "function_id": event.function_id}
    params = {**_identity(event), **owner, **_columns(event.configuration)}
    return [Statement(QUERIES["created"], params, "functions")]


def _updated(event: Function.Updated) -> list[Statement]:
    params = {**_identity(event), **_columns(event.configuration), "live": event.live}
    return [Statement(QUERIES["updated"], params, "functions"), _variables_of(event)]


def _policy_changed(event: Function.PolicyChanged) -> list[Statement]:
    policy = msgspec.to_builtins(event.policy)
    if not event.policy.traffic:
        del policy["traffic"]  # so that rows from before traffic existed fold to the same
    params = {**_identity(event), "policy": msgspec.json.encode(policy).decode()}
    return [Statement(QUERIES["policy_changed"], params, "functions")]


def _activated(event: Function.DeploymentActivated) -> list[Statement]:
    deployment = Deployment.stream(event.originator_id.split(":")[1], event.deployment_id)
    params = {**_identity(event), "deployment": deployment, "built": event.reason == "built"}
    return [Statement(QUERIES["activated"], params, "functions"), _variables_of(event)]


def _deactivated(event: Function.DeploymentDeactivated) -> list[Statement]:
    return [Statement(QUERIES["deactivated"], _identity(event), "functions")]


def _deleted(event: Function.Deleted) -> list[Statement]:
    return [Statement(QUERIES["deleted"], _identity(event))]


def _variables_of(event: Any) -> Statement:
    _, project_id, function_id = event.originator_id.split(":")
    return Statement(QUERIES["variables_of"], {"project_id": project_id, "function_id": function_id}, "variables")


def _columns(configuration: Configuration) -> dict[str, object]:
    """Return the configuration's fields, which are also the names of the columns."""
    return msgspec.structs.asdict(configuration)


def _variable_added(event: Function.VariableAdded) -> list[Statement]:
    return [Statement(QUERIES["variable_added"], _variable(event), "variables")]


def _variable_changed(event: Function.VariableChanged) -> list[Statement]:
    return [Statement(QUERIES["variable_changed"], _variable(event), "variables")]


def _variable_removed(event: Function.VariableRemoved) -> list[Statement]:
    return [Statement(QUERIES["variable_removed"], {**_identity(event), "variable_id": event.variable_id})]


def _variable(event: Function.VariableAdded | Function.VariableChanged) -> dict[str, object]:
    variable = event.variable
    return {
        **_identity(event),
        "variable_id": variable.variable_id,
        "key": variable.key,
        "sealed": variable.sealed,
        "secret": variable.secret,
    }


def _identity(event: Any) -> dict[str, object]:
    return {"stream": event.originator_id, "version": event.originator_version}


PROJECTORS: Mapping[type, Callable[[Any], Sequence[Statement]]] = {
    Function.Created: _created,
    Function.Updated: _updated,
    Function.PolicyChanged: _policy_changed,
    Function.DeploymentActivated: _activated,
    Function.DeploymentDeactivated: _deactivated,
    Function.Deleted: _deleted,
    Function.VariableAdded: _variable_added,
    Function.VariableChanged: _variable_changed,
    Function.VariableRemoved: _variable_removed,
}
