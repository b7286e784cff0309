"""Commands on functions and their variables, on their rules, and those that revert a function to a former state.

A revert records new events; the log keeps the former ones.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from annals.domain.base import Aggregate
from annals.domain.deployment import Deployment
from annals.domain.errors import Conflict, DeploymentNotFound
from annals.domain.function import ActivationReason, Function, revised
from annals.domain.policy import Policy
from annals.domain.ports import Artefact


def revise_function(function: Function, *, sent: Mapping[str, Any]) -> list[Aggregate]:
    """Update the configuration; `revised` describes `sent`."""
    function.update(revised(function.configuration, sent))
    return [function]


def change_policy(
    function: Function, *deployments: Deployment, policy: Policy, incarnation: int = 0, former: Policy | None = None
) -> list[Aggregate]:
    """Replace the policy. Its traffic's `deployments` must be ready, and belong to the function's incarnation.

    Raises DeploymentNotFound, BuildNotReady, and Conflict if the policy is no longer the `former` one.
    """
    if former is not None and function.policy != former:
        raise Conflict
    for deployment in deployments:
        deployment.require_function(function.function_id)
        if deployment.function_incarnation != incarnation:
            raise DeploymentNotFound
        deployment.require_ready()
    function.change_policy(policy)
    return [function]


def activate_deployment(
    function: Function, deployment: Deployment, *, reason: ActivationReason = "requested"
) -> list[Aggregate]:
    """Route executions to a ready deployment of the function. An older deployment makes it a rollback."""
    deployment.require_function(function.function_id)
    deployment.require_ready()
    current = function.deployment_created_at
    if reason == "requested" and current is not None and deployment.created_on < current:
        reason = "rollback"
    function.activate(deployment.deployment_id, deployment.created_on, reason)
    return [function]


class Revival(msgspec.Struct, frozen=True, kw_only=True):
    """A deleted deployment that is created again with a new id."""

    deployment_id: str
    former: Deployment
    source: Artefact
    artefact: Artefact


def restore_function(former: Function, *, then: Function) -> list[Aggregate]:
    """Create a deleted function again, with its former configuration, policy and variables."""
    function = Function.create(
        former, project_id=then.project_id, function_id=then.function_id, configuration=then.configuration
    )
    for variable in then.variables.values():
        function.add_variable(variable)
    function.change_policy(then.policy)
    return [function]


def revert_function(
    function: Function, *deployments: Deployment | None, then: Function, revival: Revival | None, incarnation: int
) -> list[Aggregate]:
    """Revert configuration, policy, variables and active deployment. Equal values record nothing.

    `deployments` holds the deployment to activate, if there is one. With a `revival` it is created again for the
    function's `incarnation`. Raises BuildNotReady, DeploymentNotFound.
    """
    _revert_variables(function, then)
    active = next(iter(deployments), None)
    recorded: list[Aggregate] = [function]
    if revival is not None:
        active = _revive(revival, active, incarnation)
        recorded.insert(0, active)
    if function.deployment_id and not then.deployment_id:
        function.deactivate(function.deployment_id)
    if then.deployment_id and active is not None:
        active.require_function(function.function_id)
        active.require_ready()
        function.activate(active.deployment_id, active.created_on, "reverted")
    function.change_policy(then.policy)
    _revert_configuration(function, then)
    return recorded


def _revert_variables(function: Function, then: Function) -> None:
    for variable_id in [known for known in function.variables if known not in then.variables]:
        function.trigger_event(Function.VariableRemoved, variable_id=variable_id)
    for variable_id, variable in then.variables.items():
        former = function.variables.get(variable_id)
        if former is None:
            function.trigger_event(Function.VariableAdded, variable=variable)
        elif former != variable:
            changed = {
                "key": former.key != variable.key,
                "value": former.sealed != variable.sealed,
                "secret": former.secret != variable.secret,
            }
            names = [name for name, differs in changed.items() if differs]
            function.trigger_event(Function.VariableChanged, variable=variable, changed=names)


def _revert_configuration(function: Function, then: Function) -> None:
    """Revert the configuration last, since other changes reset `live`."""
    former, latter = function.configuration, then.configuration
    changed = [name for name in latter.__struct_fields__ if getattr(former, name) != getattr(latter, name)]
    if changed or function.live != then.live:
        function.trigger_event(Function.Updated, configuration=latter, changed=changed, live=then.live)


def _revive(revival: Revival, present: Deployment | None, incarnation: int) -> Deployment:
    former = revival.former
    deployment = Deployment.begin(
        present,
        project_id=former.project_id,
        function_id=former.function_id,
        function_incarnation=incarnation,
        deployment_id=revival.deployment_id,
        type=former.type,
        entrypoint=former.entrypoint,
        commands=former.commands,
        activate=former.activate,
        size=former.size,
        origin=former.origin,
        duplicate_of=former.deployment_id,
    )
    deployment.restore(revival.source, revival.artefact)
    return deployment
