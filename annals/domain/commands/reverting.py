"""Commands that revert a function to a former state. They record new events; the log keeps the former ones."""

import msgspec

from annals.domain.base import Aggregate
from annals.domain.deployment import Deployment
from annals.domain.errors import BuildNotReady
from annals.domain.function import Function
from annals.domain.ports import Artefact


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
        if active.status != "ready":
            raise BuildNotReady.of(active.status)
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
