"""Commands on deployments and their builds."""

from typing import Any, NamedTuple

from annals.domain.base import Aggregate
from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.domain.origin import Remote
from annals.domain.ports import Artefact


def create_deployment(
    former: Deployment | None, *, source: Artefact, duplicated: bool = False, **fields: Any
) -> list[Aggregate]:
    """Create a deployment with a complete source: a plain upload or a duplicate."""
    deployment = Deployment.begin(former, **fields)
    deployment.store_source(source, duplicated=duplicated)
    return [deployment]


def request_deployment(former: Deployment | None, *, remote: Remote, **fields: Any) -> list[Aggregate]:
    """Create a deployment whose source a worker fetches. A repeat queues no second fetch."""
    deployment = Deployment.begin(former, remote=remote, size=0, **fields)
    deployment.queue_fetch()
    return [deployment]


def cancel_build(deployment: Deployment, *, function_id: str, seconds: int) -> list[Aggregate]:
    deployment.require_function(function_id)
    deployment.cancel_build(seconds)
    return [deployment]


def delete_deployment(function: Function, deployment: Deployment) -> list[Aggregate]:
    """Delete a deployment in any status. If it was active, the function has no active deployment."""
    deployment.require_function(function.function_id)
    deployment.delete()
    function.deactivate(deployment.deployment_id)
    return [deployment, function]


def expire_deployment(function: Function, deployment: Deployment) -> list[Aggregate]:
    """Delete a deployment because of its age, unless it is active."""
    if function.deployment_id == deployment.deployment_id:
        return []
    return delete_deployment(function, deployment)


class ActiveDeployment(NamedTuple):
    """The active deployment at the time of a read, empty for none; `newer` compares it with the built one."""

    deployment_id: str
    newer: bool


def complete_build(
    function: Function,
    deployment: Deployment,
    *,
    epoch: int,
    artefact: Artefact,
    activate: bool,
    active: ActiveDeployment | None = None,
    **fields: Any,
) -> list[Aggregate]:
    """Record the artefact, and route executions to it unless a newer deployment is active (http-api.md 8.1).

    The order of the log decides which deployment is newer, if `active` is still the active one. Otherwise the creation
    times decide, though clocks of hosts may differ.
    """
    recorded = deployment.complete_build(epoch, artefact, **fields)
    if active is not None and active.deployment_id == function.deployment_id:
        takes_over = not active.newer
    else:
        takes_over = function.takes_over(deployment.created_on)
    if recorded and activate and takes_over:
        function.activate(deployment.deployment_id, deployment.created_on, "built")
    return [deployment, function]


def recover_build(deployment: Deployment, *, epoch: int, attempts: int) -> list[Aggregate]:
    """Queue a lost worker's build again. After `attempts` claims it fails."""
    if epoch < attempts:
        deployment.requeue_build(epoch)
    else:
        deployment.fail_build(
            epoch, "worker_lost", f"The build was lost {epoch} times with the worker that ran it. Deploy again."
        )
    return [deployment]
