"""Functions: configuration, policy, active deployment, encrypted variables, and the rules by which hosts run them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.domain.rule import Rule
from annals.projections.projectors import Projector, identity, writes
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "functions.sql")
READING_STATEMENTS = frozenset({QUERIES["variables_of"]})
"""Statements that change no row: an append returns their rows with those of the function."""


def _created(event: Function.Created) -> Sequence[Statement]:
    params = {"project_id": event.project_id, "function_id": event.function_id}
    return [Statement(QUERIES["created"], identity(event) | params | _columns(event), "functions")]


def _updated(event: Function.Updated) -> Sequence[Statement]:
    params = identity(event) | _columns(event) | {"live": event.live}
    return [Statement(QUERIES["updated"], params, "functions"), _variables_of(event)]


def _columns(event: Function.Created | Function.Updated) -> dict[str, object]:
    """Return the configuration's fields, which are also the names of the columns."""
    return msgspec.structs.asdict(event.configuration)


def _policy_changed(event: Function.PolicyChanged) -> Sequence[Statement]:
    policy = msgspec.to_builtins(event.policy)
    if not event.policy.traffic:
        del policy["traffic"]  # so that rows from before traffic existed fold to the same
    params = identity(event) | {"policy": msgspec.json.encode(policy).decode()}
    return [Statement(QUERIES["policy_changed"], params, "functions")]


def _activated(event: Function.DeploymentActivated) -> Sequence[Statement]:
    deployment = Deployment.stream(event.originator_id.split(":")[1], event.deployment_id)
    params = identity(event) | {"deployment": deployment, "built": event.reason == "built"}
    return [Statement(QUERIES["activated"], params, "functions"), _variables_of(event)]


def _variables_of(event: Any) -> Statement:
    _, project_id, function_id = event.originator_id.split(":")
    return Statement(QUERIES["variables_of"], {"project_id": project_id, "function_id": function_id}, "variables")


def _rule_created(event: Rule.Created) -> Sequence[Statement]:
    params = {
        "rule_id": event.rule_id,
        "domain": event.domain,
        "function": Function.stream(event.project_id, event.function_id),
        "function_sequence": event.function_incarnation,
        "branch": event.branch,
    }
    return [Statement(QUERIES["rule_created"], identity(event) | params, "rules")]


PROJECTORS: Mapping[type, Projector] = {
    Function.Created: _created,
    Function.Updated: _updated,
    Function.PolicyChanged: _policy_changed,
    Function.DeploymentActivated: _activated,
    Function.DeploymentDeactivated: writes(QUERIES["deactivated"], "functions"),
    Function.Deleted: writes(QUERIES["deleted"]),
    Function.VariableAdded: writes(QUERIES["variable_added"], "variables", part="variable"),
    Function.VariableChanged: writes(QUERIES["variable_changed"], "variables", part="variable"),
    Function.VariableRemoved: writes(QUERIES["variable_removed"]),
    Rule.Created: _rule_created,
    Rule.Deleted: writes(QUERIES["rule_deleted"]),
}
