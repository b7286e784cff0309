"""A function: its configuration, its policy, its variables, and its active deployment."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec

from annals.domain.base import AggregateEvent, CreatedEvent, DeletionEvent
from annals.domain.errors import ArgumentInvalid, FunctionAlreadyExists, FunctionNotFound
from annals.domain.policy import Policy
from annals.domain.variables import Variable, VariableOwner

ActivationReason = Literal["requested", "built", "rollback", "reverted"]


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a function by its clients; `timeout` in seconds, `deployment_retention` in days (0 keeps all)."""

    name: str
    runtime: str
    execute: list[str] = []
    events: list[str] = []
    schedule: str = ""
    timeout: int = 15
    enabled: bool = True
    logging: bool = True
    entrypoint: str = ""
    commands: str = ""
    scopes: list[str] = []
    installation_id: str = ""
    provider_repository_id: str = ""
    provider_branch: str = ""
    provider_root_directory: str = ""
    provider_silent_mode: bool = False
    provider_branches: list[str] = []
    provider_paths: list[str] = []
    build_specification: str
    runtime_specification: str
    deployment_retention: int = 0


BUILD_INPUTS = frozenset({"name", "entrypoint", "commands", "provider_root_directory", "runtime"})
"""Fields whose change makes the active build outdated (http-api.md 7.9)."""

_REPOSITORY_FIELDS = ("installation_id", "provider_repository_id", "provider_branch", "provider_root_directory")
_KEPT_IF_NOT_SENT = (
    "runtime",
    "build_specification",
    "runtime_specification",
    "provider_branches",
    "provider_paths",
)


class Function(VariableOwner):
    TOPIC: ClassVar[str] = "function"
    MISSING = FunctionNotFound
    TAKEN = FunctionAlreadyExists
    SNAPSHOT_EVERY = 100

    class Event(AggregateEvent, frozen=True):
        pass

    class Created(CreatedEvent, Event, frozen=True):
        TOPIC: ClassVar[str] = "function.created"
        project_id: str
        function_id: str
        configuration: Configuration

    class Updated(Event, frozen=True):
        """The complete new configuration, and the names of the changed fields.

        `connected` says that the function has a repository now and had none.
        """

        TOPIC: ClassVar[str] = "function.updated"
        configuration: Configuration
        changed: list[str]
        live: bool
        connected: bool = False

        def apply(self, aggregate: "Function") -> None:
            aggregate.configuration = self.configuration
            aggregate.live = self.live

    class PolicyChanged(Event, frozen=True):
        """The complete new policy."""

        TOPIC: ClassVar[str] = "function.policy_changed"
        policy: Policy

        def apply(self, aggregate: "Function") -> None:
            aggregate.policy = self.policy

    class DeploymentActivated(Event, frozen=True):
        TOPIC: ClassVar[str] = "function.deployment_activated"
        deployment_id: str
        deployment_created_at: datetime
        reason: ActivationReason

        def apply(self, aggregate: "Function") -> None:
            aggregate.deployment_id = self.deployment_id
            aggregate.deployment_created_at = self.deployment_created_at
            aggregate.live = aggregate.live or self.reason == "built"

    class DeploymentDeactivated(Event, frozen=True):
        TOPIC: ClassVar[str] = "function.deployment_deactivated"
        deployment_id: str

        def apply(self, aggregate: "Function") -> None:
            aggregate.deployment_id = ""
            aggregate.deployment_created_at = None

    class VariableAdded(Event, frozen=True):
        TOPIC: ClassVar[str] = "function.variable_added"
        variable: Variable

        def apply(self, aggregate: "Function") -> None:
            aggregate.variables[self.variable.variable_id] = self.variable
            aggregate.live = False

    class VariableChanged(Event, frozen=True):
        """The complete new variable, and the names of the changed fields."""

        TOPIC: ClassVar[str] = "function.variable_changed"
        variable: Variable
        changed: list[str]

        def apply(self, aggregate: "Function") -> None:
            aggregate.variables[self.variable.variable_id] = self.variable
            aggregate.live = False

    class VariableRemoved(Event, frozen=True):
        TOPIC: ClassVar[str] = "function.variable_removed"
        variable_id: str

        def apply(self, aggregate: "Function") -> None:
            del aggregate.variables[self.variable_id]
            aggregate.live = False

    class Deleted(DeletionEvent, Event, frozen=True):
        """The function and its deployments, executions and variables are deleted."""

        TOPIC: ClassVar[str] = "function.deleted"

    def __init__(self, project_id: str, function_id: str, configuration: Configuration) -> None:
        self.project_id = project_id
        self.function_id = function_id
        self.configuration = configuration
        self.variables: dict[str, Variable] = {}
        self.deployment_id = ""
        self.deployment_created_at: datetime | None = None
        self.live = True
        self.policy = Policy()

    def update(self, configuration: Configuration) -> None:
        """Replace the configuration. `live` becomes false if a build input changed, else true (http-api.md 7.9)."""
        changed = [
            name for name in configuration.__struct_fields__
            if getattr(configuration, name) != getattr(self.configuration, name)
        ]  # fmt: skip
        live = not BUILD_INPUTS.intersection(changed)
        if changed or live != self.live:
            connected = bool(configuration.provider_repository_id) and not self.configuration.provider_repository_id
            self.trigger_event(
                self.Updated, configuration=configuration, changed=changed, live=live, connected=connected
            )

    def change_policy(self, policy: Policy) -> None:
        """Replace the policy; an equal policy records nothing."""
        if policy != self.policy:
            self.trigger_event(self.PolicyChanged, policy=policy)

    def activate(self, deployment_id: str, created_at: datetime, reason: ActivationReason) -> None:
        """Route executions to a ready deployment; a repeat is a no-op."""
        if deployment_id != self.deployment_id:
            self.trigger_event(
                self.DeploymentActivated,
                deployment_id=deployment_id,
                deployment_created_at=created_at,
                reason=reason,
            )

    def takes_over(self, created_at: datetime) -> bool:
        """Return True if a finished build may become active: it is newer than the active one (http-api.md 8.1)."""
        return self.deployment_created_at is None or self.deployment_created_at < created_at

    def deactivate(self, deployment_id: str) -> None:
        """Leave the function without an active deployment, if this one is active."""
        if deployment_id == self.deployment_id:
            self.trigger_event(self.DeploymentDeactivated, deployment_id=deployment_id)

    def delete(self) -> None:
        self.trigger_event(self.Deleted)


def revised(former: Configuration, sent: Mapping[str, Any]) -> Configuration:
    """Return the configuration after an update (http-api.md 7.9): a replacement, except for some fields not sent.

    `sent` has every field by its name, None for fields that were not sent. Raises ArgumentInvalid for a repository
    without its installation or branch.
    """
    fields = dict(sent)
    for name in _KEPT_IF_NOT_SENT:
        if fields[name] is None:
            fields[name] = getattr(former, name)
    fields["entrypoint"] = fields["entrypoint"] or former.entrypoint
    _connect_repository(fields, former)
    return msgspec.convert(fields, Configuration)


def _connect_repository(fields: dict[str, Any], former: Configuration) -> None:
    """Set the fields of the connected repository."""
    repository = fields["provider_repository_id"]
    connected = former.provider_repository_id != ""
    require_complete_repository(repository, fields["installation_id"], fields["provider_branch"])
    if connected and repository is None:
        fields["installation_id"] = former.installation_id
        fields["provider_repository_id"] = former.provider_repository_id
        fields["provider_branch"] = fields["provider_branch"] or former.provider_branch
        fields["provider_root_directory"] = fields["provider_root_directory"] or former.provider_root_directory
    elif connected and repository == "":
        fields.update(dict.fromkeys(_REPOSITORY_FIELDS, ""))
        fields.update(provider_branches=[], provider_paths=[], provider_silent_mode=True)
    elif repository is None:
        fields["provider_repository_id"] = ""


def require_complete_repository(repository: str | None, installation: str, branch: str) -> None:
    """Raise ArgumentInvalid for a repository without its installation or branch."""
    if repository and not (installation and branch):
        raise ArgumentInvalid("A repository needs installationId and providerBranch beside it.")
