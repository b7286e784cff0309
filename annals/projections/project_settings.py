"""What a project serves to whom, and the variables that all its functions see."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from annals.domain.project import Project
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "project_settings.sql")


def _service_switched(event: Project.ServiceSwitched) -> list[Statement]:
    recorded_events = {"service": event.service, "enabled": event.enabled}
    return [Statement(QUERIES["service_switched"], {**_identity(event), **recorded_events}, "projects")]


def _platform_added(event: Project.PlatformAdded) -> list[Statement]:
    platform = event.platform
    recorded_events = {
        "platform_id": platform.platform_id,
        "type": platform.type,
        "name": platform.name,
        "hostname": platform.hostname,
        "key": platform.key,
        "store": platform.store,
    }
    return [Statement(QUERIES["platform_added"], {**_identity(event), **recorded_events}, "platforms")]


def _platform_removed(event: Project.PlatformRemoved) -> list[Statement]:
    return [Statement(QUERIES["platform_removed"], {**_identity(event), "platform_id": event.platform_id})]


def _variable_added(event: Project.VariableAdded) -> list[Statement]:
    return [Statement(QUERIES["variable_added"], _whole(event), "variables")]


def _variable_changed(event: Project.VariableChanged) -> list[Statement]:
    return [Statement(QUERIES["variable_changed"], _whole(event), "variables")]


def _variable_removed(event: Project.VariableRemoved) -> list[Statement]:
    return [Statement(QUERIES["variable_removed"], {**_identity(event), "variable_id": event.variable_id})]


def _whole(event: Project.VariableAdded | Project.VariableChanged) -> dict[str, object]:
    variable = event.variable
    return {
        **_identity(event),
        "variable_id": variable.variable_id,
        "key": variable.key,
        "sealed": variable.sealed,
        "secret": variable.secret,
    }


def _identity(event: Any) -> dict[str, object]:
    return {"stream": event.originator_id, "version": event.originator_version}


PROJECTORS: Mapping[type, Callable[[Any], Sequence[Statement]]] = {
    Project.ServiceSwitched: _service_switched,
    Project.PlatformAdded: _platform_added,
    Project.PlatformRemoved: _platform_removed,
    Project.VariableAdded: _variable_added,
    Project.VariableChanged: _variable_changed,
    Project.VariableRemoved: _variable_removed,
}
