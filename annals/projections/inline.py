"""The read models that change in the transaction of their events, so that clients read their own writes."""

from collections.abc import Mapping, Sequence
from typing import Any

from annals.domain.errors import (
    Conflict,
    DeploymentNotFound,
    DomainError,
    ExecutionAlreadyExists,
    FunctionAlreadyExists,
    FunctionNotFound,
    InstallationAlreadyExists,
    PlatformAlreadyExists,
    ProjectAlreadyExists,
    RuleAlreadyExists,
    TeamAlreadyExists,
    TeamInviteAlreadyExists,
    UserAlreadyExists,
    VariableAlreadyExists,
)
from annals.projections import deployments, executions, functions, identity, projects
from annals.projections.projectors import Projector
from annals.store.log.request import Statement

TABLES = (
    *("projects", "keys", "platforms", "functions", "variables", "deployments", "executions", "counters"),
    *("users", "sessions", "teams", "memberships", "rules", "installations"),
)

CONSTRAINT_ERRORS: Mapping[str, type[DomainError]] = {
    "projects_id": ProjectAlreadyExists,
    "projects_empty": Conflict,
    "functions_id": FunctionAlreadyExists,
    "variables_id": VariableAlreadyExists,
    "deployments_id": DeploymentNotFound,
    "executions_id": ExecutionAlreadyExists,
    "executions_function": FunctionNotFound,
    "users_id": UserAlreadyExists,
    "users_email": UserAlreadyExists,
    "users_phone": UserAlreadyExists,
    "teams_id": TeamAlreadyExists,
    "memberships_id": TeamInviteAlreadyExists,
    "platforms_id": PlatformAlreadyExists,
    "rules_id": RuleAlreadyExists,
    "rules_domain": RuleAlreadyExists,
    "installations_id": InstallationAlreadyExists,
}
"""The error that each violated constraint of a read model means to the caller (the event log's `constraint_errors`)."""

PROJECTORS: Mapping[type, Projector] = {
    **projects.PROJECTORS,
    **functions.PROJECTORS,
    **deployments.PROJECTORS,
    **executions.PROJECTORS,
    **identity.PROJECTORS,
}


def project(event: Any) -> Sequence[Statement]:
    """Return the statements that apply an event to the inline read models; none if it changes no row."""
    projector = PROJECTORS.get(type(event))
    return projector(event) if projector is not None else ()
