"""A function: its configuration, its variables, and which deployment answers."""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from annals.domain.base import AggregateEvent, CreatedEvent, Key
from annals.domain.errors import FunctionAlreadyExists, FunctionNotFound
from annals.domain.policy import Policy
from annals.domain.variables import Variable, VariableOwner

ActivationReason = Literal["requested", "built", "rollback", "reverted"]


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a client sets on a function; `timeout` in seconds, `deployment_retention` in days (0 keeps all)."""

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
"""Fields whose change makes the active build out of date (http-api.md 7.9)."""


class Function(VariableOwner):
    TOPIC: ClassVar[str] = "function"
    SNAPSHOT_EVERY = 100

    class Event(AggregateEvent, frozen=True):
        pass

    class Created(CreatedEvent, Event, frozen=True):
        TOPIC: ClassVar[str] = "function.created"
        project_id: str
        function_id: str
        configuration: Configuration

    class Updated(Event, frozen=True):
        """The whole new configuration, and the names of the fields that differ from the former one; `connected` when it
        has a repository now and had none."""

        TOPIC: ClassVar[str] = "function.updated"
        configuration: Configuration
        changed: list[str]
        live: bool
        connected: bool = False

        def apply(self, aggregate: "Function") -> None:
            aggregate.configuration, aggregate.live = self.configuration, self.live

    class PolicyChanged(Event, frozen=True):
        """The whole new policy."""

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
            aggregate.deployment_id, aggregate.deployment_created_at = "", None

    class VariableAdded(Event, frozen=True):
        TOPIC: ClassVar[str] = "function.variable_added"
        variable: Variable

        def apply(self, aggregate: "Function") -> None:
            aggregate.variables[self.variable.variable_id] = self.variable
            aggregate.live = False

    class VariableChanged(Event, frozen=True):
        """The whole new variable, and the names of what changed."""

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

    class Deleted(Event, frozen=True):
        """The function and everything below it."""

        TOPIC: ClassVar[str] = "function.deleted"

        def apply(self, aggregate: "Function") -> None:
            aggregate.deleted = True

    def __init__(self, project_id: str, function_id: str, configuration: Configuration) -> None:
        self.project_id, self.function_id, self.configuration = project_id, function_id, configuration
        self.variables: dict[str, Variable] = {}
        self.deployment_id = ""
        self.deployment_created_at: datetime | None = None
        self.live = True
        self.policy = Policy()

    @staticmethod
    def stream(project_id: str, function_id: str) -> str:
        return f"function:{project_id}:{function_id}"

    @classmethod
    def key(cls, project_id: str, function_id: str) -> Key:
        return Key(cls, cls.stream(project_id, function_id), FunctionNotFound)

    @classmethod
    def absent(cls, project_id: str, function_id: str) -> Key:
        return Key(cls, cls.stream(project_id, function_id), None)

    @classmethod
    def create(
        cls, former: "Function | None", *, project_id: str, function_id: str, configuration: Configuration
    ) -> "Function":
        if former is not None and not former.deleted:
            raise FunctionAlreadyExists
        return cls.start(
            cls.Created,
            cls.stream(project_id, function_id),
            former,
            project_id=project_id,
            function_id=function_id,
            configuration=configuration,
        )

    def update(self, configuration: Configuration) -> None:
        """Replace the configuration; `live` turns false when a build input changed, else true (http-api.md 7.9)."""
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
        """Replace the policy; the same one again records nothing."""
        if policy != self.policy:
            self.trigger_event(self.PolicyChanged, policy=policy)

    def activate(self, deployment_id: str, created_at: datetime, reason: ActivationReason) -> None:
        """Route executions to a deployment that is ready; a repeat is a no-op."""
        if deployment_id != self.deployment_id:
            self.trigger_event(
                self.DeploymentActivated,
                deployment_id=deployment_id,
                deployment_created_at=created_at,
                reason=reason,
            )

    def takes_over(self, created_at: datetime) -> bool:
        """Whether a finished build may become active: never over a newer deployment (http-api.md 8.1)."""
        return self.deployment_created_at is None or self.deployment_created_at < created_at

    def deactivate(self, deployment_id: str) -> None:
        if deployment_id == self.deployment_id:
            self.trigger_event(self.DeploymentDeactivated, deployment_id=deployment_id)

    def delete(self) -> None:
        self.trigger_event(self.Deleted)
