"""What must be there when an event is appended, and who hears of it: in its transaction, never when it is told anew."""

from typing import Any

from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.store.log.append_modes import QUERIES as APPEND
from annals.store.log.request import ConcurrencySlot, Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "append_checks.sql")


def required(event: Any) -> list[Statement]:
    """The statements that refuse what begins for a function that went after it was read: nobody would sweep it.

    A deployment that went with a former function of the same id is none, though its stream goes on.

    And those that tell of places which come free by what rarely happens; a run's usual end tells where it held one.
    """
    match event:
        case Execution.Requested() | Deployment.UploadStarted():
            stream = Function.stream(event.project_id, event.function_id)
            return [Statement(QUERIES["function"], {"stream": stream, "incarnation": event.function_incarnation})]
        case Function.DeploymentActivated(reason="requested" | "rollback"):
            _, project_id, _ = event.originator_id.split(":", 2)
            stream = Deployment.stream(project_id, event.deployment_id)
            return [Statement(QUERIES["known_deployment"], {"stream": stream})]
        case Deployment.Deleted():
            return [Statement(QUERIES["known_deployment"], {"stream": event.originator_id})]
        case Execution.Failed(ran=None) | Execution.RetryScheduled(ran=None):
            return [Statement(QUERIES["place_back_of"], {"stream": event.originator_id})]
        case Execution.Canceled() | Execution.Deleted():
            return [Statement(QUERIES["place_back_of"], {"stream": event.originator_id})]
        case Function.PolicyChanged():
            _, project_id, function_id = event.originator_id.split(":", 2)
            return [Statement(APPEND["place_back"], {"place": ConcurrencySlot(project_id, function_id).name})]
    return []


def required_after(event: Any) -> list[Statement]:
    """The same for what an append may have begun itself: asked once the event's own rows are there."""
    match event:
        case Deployment.BuildQueued(reason="uploaded" | "duplicated" | "requested"):
            return [Statement(QUERIES["deployment"], {"stream": event.originator_id})]
    return []
