"""Commands on functions and their variables."""

from collections.abc import Mapping
from typing import Any

from annals.domain.base import Aggregate
from annals.domain.deployment import Deployment
from annals.domain.errors import Conflict, DeploymentNotFound
from annals.domain.function import ActivationReason, Configuration, Function, revised
from annals.domain.policy import Policy
from annals.domain.variables import Variable


def create_function(
    former: Function | None, *, project_id: str, function_id: str, configuration: Configuration
) -> list[Aggregate]:
    return [Function.create(former, project_id=project_id, function_id=function_id, configuration=configuration)]


def update_function(function: Function, *, configuration: Configuration) -> list[Aggregate]:
    function.update(configuration)
    return [function]


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


def delete_function(function: Function) -> list[Aggregate]:
    function.delete()
    return [function]


def delete_functions(*functions: Function) -> list[Aggregate]:
    for function in functions:
        function.delete()
    return list(functions)


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


def add_variable(function: Function, *, variable: Variable) -> list[Aggregate]:
    function.add_variable(variable)
    return [function]


def change_variable(
    function: Function, *, variable_id: str, key: str | None, sealed: tuple[str, str] | None, secret: bool | None
) -> list[Aggregate]:
    function.change_variable(variable_id, key=key, sealed=sealed, secret=secret)
    return [function]


def remove_variable(function: Function, *, variable_id: str) -> list[Aggregate]:
    function.remove_variable(variable_id)
    return [function]
