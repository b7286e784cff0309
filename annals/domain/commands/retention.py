"""Commands of retention."""

from annals.domain.base import Aggregate
from annals.domain.commands.deployments import delete_deployment
from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.domain.retention import Retention, SweepReason


def sweep_executions(
    former: Retention | None, *, project_id: str, function_id: str, incarnation: int, up_to: int, reason: SweepReason
) -> list[Aggregate]:
    retention = Retention.of(former, project_id)
    retention.sweep_executions(function_id, incarnation, up_to, reason)
    return [retention]


def expire_deployment(function: Function, deployment: Deployment) -> list[Aggregate]:
    """Delete a deployment because of its age, unless it is active."""
    if function.deployment_id == deployment.deployment_id:
        return []
    return delete_deployment(function, deployment)
