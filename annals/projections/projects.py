"""Projects, with their keys, services, platforms, shared variables and installations.

The credentials of installations stay in the log, encrypted.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from annals.domain.project import Project
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "projects.sql")


def _created(event: Project.Created) -> list[Statement]:
    params = {"project_id": event.project_id, "name": event.name}
    return [Statement(QUERIES["created"], {**_identity(event), **params}, "projects")]


def _renamed(event: Project.Renamed) -> list[Statement]:
    return [Statement(QUERIES["renamed"], {**_identity(event), "name": event.name}, "projects")]


def _deleted(event: Project.Deleted) -> list[Statement]:
    return [Statement(QUERIES["deleted"], _identity(event))]


def _key_added(event: Project.KeyAdded) -> list[Statement]:
    key = event.key
    params = {
        **_identity(event),
        "key_id": key.key_id,
        "name": key.name,
        "digest": key.digest,
        "scopes": key.scopes,
        "expires_at": key.expires_at,
    }
    return [Statement(QUERIES["key_added"], params, "keys")]


def _key_revoked(event: Project.KeyRevoked) -> list[Statement]:
    return [Statement(QUERIES["key_revoked"], {"stream": event.originator_id, "key_id": event.key_id})]


def _service_switched(event: Project.ServiceSwitched) -> list[Statement]:
    params = {"service": event.service, "enabled": event.enabled}
    return [Statement(QUERIES["service_switched"], {**_identity(event), **params}, "projects")]


def _platform_added(event: Project.PlatformAdded) -> list[Statement]:
    platform = event.platform
    params = {
        "platform_id": platform.platform_id,
        "type": platform.type,
        "name": platform.name,
        "hostname": platform.hostname,
        "key": platform.key,
        "store": platform.store,
    }
    return [Statement(QUERIES["platform_added"], {**_identity(event), **params}, "platforms")]


def _platform_removed(event: Project.PlatformRemoved) -> list[Statement]:
    return [Statement(QUERIES["platform_removed"], {**_identity(event), "platform_id": event.platform_id})]


def _variable_added(event: Project.VariableAdded) -> list[Statement]:
    return [Statement(QUERIES["variable_added"], _variable(event), "variables")]


def _variable_changed(event: Project.VariableChanged) -> list[Statement]:
    return [Statement(QUERIES["variable_changed"], _variable(event), "variables")]


def _variable_removed(event: Project.VariableRemoved) -> list[Statement]:
    return [Statement(QUERIES["variable_removed"], {**_identity(event), "variable_id": event.variable_id})]


def _variable(event: Project.VariableAdded | Project.VariableChanged) -> dict[str, object]:
    variable = event.variable
    return {
        **_identity(event),
        "variable_id": variable.variable_id,
        "key": variable.key,
        "sealed": variable.sealed,
        "secret": variable.secret,
    }


def _installation_added(event: Project.InstallationAdded) -> list[Statement]:
    installation = event.installation
    params = {
        "installation_id": installation.installation_id,
        "provider": installation.provider,
        "organization": installation.organization,
        "url": installation.url,
        "app_id": installation.app_id,
        "provider_installation_id": installation.provider_installation_id,
    }
    return [Statement(QUERIES["installation_added"], {**_identity(event), **params}, "installations")]


def _installation_removed(event: Project.InstallationRemoved) -> list[Statement]:
    return [Statement(QUERIES["installation_removed"], {**_identity(event), "installation_id": event.installation_id})]


def _identity(event: Any) -> dict[str, object]:
    return {"stream": event.originator_id, "version": event.originator_version}


PROJECTORS: Mapping[type, Callable[[Any], Sequence[Statement]]] = {
    Project.Created: _created,
    Project.Renamed: _renamed,
    Project.Deleted: _deleted,
    Project.KeyAdded: _key_added,
    Project.KeyRevoked: _key_revoked,
    Project.ServiceSwitched: _service_switched,
    Project.PlatformAdded: _platform_added,
    Project.PlatformRemoved: _platform_removed,
    Project.VariableAdded: _variable_added,
    Project.VariableChanged: _variable_changed,
    Project.VariableRemoved: _variable_removed,
    Project.InstallationAdded: _installation_added,
    Project.InstallationRemoved: _installation_removed,
}
