"""Statements that check an append and notify of freed slots, in the transaction of its events. A replay skips them.

The append also checks the data keys of the sealed values that its events bring into the log.
"""

from typing import Any

from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.project import Project
from annals.domain.user import User
from annals.store.log.append_modes import QUERIES as APPEND
from annals.store.log.request import ConcurrencySlot, Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "append_checks.sql")


def required(event: Any) -> list[Statement]:
    """Return the statements that run before an event's own rows change.

    They refuse new work of a function that was deleted after it was read, since no sweep would find that work. A
    deployment of a former function with the same id counts as deleted, though its stream goes on.

    Others notify of slots that rare events free; the usual end of a run notifies by itself.
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
            return [Statement(APPEND["announce_freed_slot"], {"slot": ConcurrencySlot(project_id, function_id).name})]
    return []


def required_after(event: Any) -> list[Statement]:
    """Return the checks that run after an event's own rows changed: the same append may have created their row."""
    match event:
        case Deployment.BuildQueued(reason="uploaded" | "duplicated" | "requested"):
            return [Statement(QUERIES["deployment"], {"stream": event.originator_id})]
    return []


def sealed_values(event: Any) -> list[str]:
    """Return the values that an event records for the first time; repeated ones were checked before."""
    match event:
        case Function.VariableAdded() | Project.VariableAdded():
            return [event.variable.sealed]
        case Function.VariableChanged() | Project.VariableChanged():
            return [event.variable.sealed] if "value" in event.changed else []
        case Project.InstallationAdded():
            return [event.installation.sealed]
        case User.Created() | User.PasswordSet():
            return [event.sealed_password] if event.sealed_password else []
    return []
