"""A project, the tenant: its API keys, services, platforms, installations, and variables of all its functions."""

from datetime import datetime
from typing import Any, ClassVar, Literal, Self

import msgspec

from annals.domain.base import Aggregate, AggregateEvent, CreatedEvent, DeletionEvent
from annals.domain.errors import (
    InstallationAlreadyExists,
    InstallationNotFound,
    KeyNotFound,
    PlatformAlreadyExists,
    PlatformNotFound,
    ProjectAlreadyExists,
    ProjectNotFound,
)
from annals.domain.variables import Variable, VariableOwner

Provider = Literal["git", "github"]

CONSOLE = "console"
"""The reserved id of the instance itself: its users are the admins of all projects."""

REST = "rest"
"""The name that switches the whole API."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A standard key; `digest` is the SHA-256 of its secret. Only its owner has the secret."""

    key_id: str
    name: str
    digest: str
    scopes: list[str]
    expires_at: datetime | None = None


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """A platform of a client. Pages of a web platform's `hostname` may call; a leading `*.` includes subdomains."""

    platform_id: str
    type: str
    name: str
    hostname: str = ""
    key: str = ""
    store: str = ""


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """A host of repositories, and the encrypted credentials for it.

    With `git`, `url` is the base URL of the repositories; empty means those that the operator configured. `github` is
    an app's installation, and `url` its API. `sealed` holds the credentials.
    """

    installation_id: str
    provider: Provider
    organization: str
    url: str
    app_id: str = ""
    provider_installation_id: str = ""
    sealed: str


class Project(VariableOwner):
    TOPIC: ClassVar[str] = "project"
    MISSING = ProjectNotFound
    TAKEN = ProjectAlreadyExists

    class Event(AggregateEvent, frozen=True):
        pass

    class Created(CreatedEvent, Event, frozen=True):
        TOPIC: ClassVar[str] = "project.created"
        project_id: str
        name: str

    class Renamed(Event, frozen=True):
        TOPIC: ClassVar[str] = "project.renamed"
        name: str

        def apply(self, aggregate: "Project") -> None:
            aggregate.name = self.name

    class KeyAdded(Event, frozen=True):
        TOPIC: ClassVar[str] = "project.key_added"
        key: ApiKey

        def apply(self, aggregate: "Project") -> None:
            aggregate.keys[self.key.key_id] = self.key

    class KeyRevoked(Event, frozen=True):
        TOPIC: ClassVar[str] = "project.key_revoked"
        key_id: str

        def apply(self, aggregate: "Project") -> None:
            del aggregate.keys[self.key_id]

    class ServiceSwitched(Event, frozen=True):
        """A service was switched for users and guests; `service` is the first word of its routes, or `rest` for all."""

        TOPIC: ClassVar[str] = "project.service_switched"
        service: str
        enabled: bool

        def apply(self, aggregate: "Project") -> None:
            aggregate.disabled = (
                aggregate.disabled - {self.service} if self.enabled else aggregate.disabled | {self.service}
            )

    class PlatformAdded(Event, frozen=True):
        TOPIC: ClassVar[str] = "project.platform_added"
        platform: Platform

        def apply(self, aggregate: "Project") -> None:
            aggregate.platforms[self.platform.platform_id] = self.platform

    class PlatformRemoved(Event, frozen=True):
        TOPIC: ClassVar[str] = "project.platform_removed"
        platform_id: str

        def apply(self, aggregate: "Project") -> None:
            del aggregate.platforms[self.platform_id]

    class VariableAdded(Event, frozen=True):
        """All functions of the project get this variable."""

        TOPIC: ClassVar[str] = "project.variable_added"
        variable: Variable

        def apply(self, aggregate: "Project") -> None:
            aggregate.variables[self.variable.variable_id] = self.variable

    class VariableChanged(Event, frozen=True):
        """The complete new variable, and the names of the changed fields."""

        TOPIC: ClassVar[str] = "project.variable_changed"
        variable: Variable
        changed: list[str]

        def apply(self, aggregate: "Project") -> None:
            aggregate.variables[self.variable.variable_id] = self.variable

    class VariableRemoved(Event, frozen=True):
        TOPIC: ClassVar[str] = "project.variable_removed"
        variable_id: str

        def apply(self, aggregate: "Project") -> None:
            del aggregate.variables[self.variable_id]

    class InstallationAdded(Event, frozen=True):
        """Functions can be connected to the repositories of another host."""

        TOPIC: ClassVar[str] = "project.installation_added"
        installation: Installation

        def apply(self, aggregate: "Project") -> None:
            aggregate.installations[self.installation.installation_id] = self.installation

    class InstallationRemoved(Event, frozen=True):
        TOPIC: ClassVar[str] = "project.installation_removed"
        installation_id: str

        def apply(self, aggregate: "Project") -> None:
            del aggregate.installations[self.installation_id]

    class Deleted(DeletionEvent, Event, frozen=True):
        TOPIC: ClassVar[str] = "project.deleted"
        ENDS_PROJECT: ClassVar[bool] = True

    def __init__(self, project_id: str, name: str) -> None:
        self.project_id = project_id
        self.name = name
        self.keys: dict[str, ApiKey] = {}
        self.disabled: frozenset[str] = frozenset()
        self.platforms: dict[str, Platform] = {}
        self.variables: dict[str, Variable] = {}
        self.installations: dict[str, Installation] = {}

    @classmethod
    def create(cls, former: Aggregate | None, *, project_id: str, **fields: Any) -> Self:
        """Create a project. Raises ProjectAlreadyExists for a used id and for that of the console."""
        if project_id == CONSOLE:
            raise ProjectAlreadyExists
        return super().create(former, project_id=project_id, **fields)

    def rename(self, name: str) -> None:
        if name != self.name:
            self.trigger_event(self.Renamed, name=name)

    def add_key(self, key: ApiKey) -> None:
        self.trigger_event(self.KeyAdded, key=key)

    def revoke_key(self, key_id: str) -> None:
        if key_id not in self.keys:
            raise KeyNotFound
        self.trigger_event(self.KeyRevoked, key_id=key_id)

    def switch_service(self, service: str, *, enabled: bool) -> None:
        if enabled == (service in self.disabled):
            self.trigger_event(self.ServiceSwitched, service=service, enabled=enabled)

    def add_platform(self, platform: Platform) -> None:
        if platform.platform_id in self.platforms:
            raise PlatformAlreadyExists
        self.trigger_event(self.PlatformAdded, platform=platform)

    def remove_platform(self, platform_id: str) -> None:
        if platform_id not in self.platforms:
            raise PlatformNotFound
        self.trigger_event(self.PlatformRemoved, platform_id=platform_id)

    def add_installation(self, installation: Installation) -> None:
        if installation.installation_id in self.installations:
            raise InstallationAlreadyExists
        self.trigger_event(self.InstallationAdded, installation=installation)

    def remove_installation(self, installation_id: str) -> None:
        if installation_id not in self.installations:
            raise InstallationNotFound
        self.trigger_event(self.InstallationRemoved, installation_id=installation_id)

    def delete(self) -> None:
        self.trigger_event(self.Deleted)
