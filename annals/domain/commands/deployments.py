"""Commands on deployments and their builds."""

from typing import Any, NamedTuple

from annals.domain.base import Aggregate
from annals.domain.deployment import Deployment
from annals.domain.function import Function
from annals.domain.origin import Origin, Remote
from annals.domain.ports import Artefact, BuildReason


def begin_upload(former: Deployment | None, **facts: Any) -> list[Aggregate]:
    """The first chunk of an upload is here; a chunk that lost the race to begin finds it begun."""
    return [Deployment.begin(former, **facts)]


def create_deployment(
    former: Deployment | None, *, source: Artefact, duplicated: bool = False, **facts: Any
) -> list[Aggregate]:
    """A deployment whose source is complete: a plain upload, or a duplicate."""
    deployment = Deployment.begin(former, **facts)
    deployment.store_source(source, duplicated=duplicated)
    return [deployment]


def complete_upload(deployment: Deployment, *, source: Artefact) -> list[Aggregate]:
    """The last missing chunk is here; of several that think so, one records it."""
    deployment.store_source(source)
    return [deployment]


def request_deployment(former: Deployment | None, *, remote: Remote, **facts: Any) -> list[Aggregate]:
    """A deployment whose source a worker fetches; one that is there already is requested once."""
    deployment = Deployment.begin(former, remote=remote, size=0, **facts)
    deployment.queue_fetch()
    return [deployment]


def store_fetched(deployment: Deployment, *, epoch: int, source: Artefact, origin: Origin) -> list[Aggregate]:
    deployment.store_fetched(epoch, source, origin)
    return [deployment]


def cancel_build(deployment: Deployment, *, function_id: str, seconds: int) -> list[Aggregate]:
    deployment.require_function(function_id)
    deployment.cancel_build(seconds)
    return [deployment]


def abandon_build(deployment: Deployment, *, incarnation: int, seconds: int) -> list[Aggregate]:
    """Its function is gone: end the build, unless it ended by itself meanwhile."""
    deployment.abandon(incarnation, seconds)
    return [deployment]


def delete_deployment(function: Function, deployment: Deployment) -> list[Aggregate]:
    """Delete in any status; the active one stops answering, with no fallback to another."""
    deployment.require_function(function.function_id)
    deployment.delete()
    function.deactivate(deployment.deployment_id)
    return [deployment, function]


def claim_build(deployment: Deployment, *, worker: str) -> list[Aggregate]:
    deployment.claim_build(worker)
    return [deployment]


def start_build(deployment: Deployment, *, epoch: int) -> list[Aggregate]:
    deployment.start_build(epoch)
    return [deployment]


class Answering(NamedTuple):
    """The deployment that answers as the log was read, empty for none, and whether it is newer than the one at hand."""

    deployment_id: str
    newer: bool


def complete_build(
    function: Function,
    deployment: Deployment,
    *,
    epoch: int,
    artefact: Artefact,
    activate: bool,
    answering: Answering | None = None,
    **facts: Any,
) -> list[Aggregate]:
    """Record the artefact, and route executions to it unless a newer deployment is active (http-api.md 8.1).

    The log's order says which is newer, where it was read while that one was active; else the times of the hosts that
    made them do, whose clocks may differ.
    """
    recorded = deployment.complete_build(epoch, artefact, **facts)
    if answering is not None and answering.deployment_id == function.deployment_id:
        takes_over = not answering.newer
    else:
        takes_over = function.takes_over(deployment.created_on)
    if recorded and activate and takes_over:
        function.activate(deployment.deployment_id, deployment.created_on, "built")
    return [deployment, function]


def fail_build(
    deployment: Deployment, *, epoch: int, reason: BuildReason, message: str, **facts: Any
) -> list[Aggregate]:
    deployment.fail_build(epoch, reason, message, **facts)
    return [deployment]


def recover_build(deployment: Deployment, *, epoch: int, attempts: int) -> list[Aggregate]:
    """A lost worker's build runs again, up to `attempts` claims; then it has failed."""
    if epoch < attempts:
        deployment.requeue_build(epoch)
    else:
        deployment.fail_build(
            epoch, "worker_lost", f"The build was lost {epoch} times with the worker that ran it. Deploy again."
        )
    return [deployment]
