"""Which hosts of repositories a project may fetch from; their credentials stay in the log, sealed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from annals.domain.project import Project
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "installations.sql")


def _added(event: Project.InstallationAdded) -> list[Statement]:
    installation = event.installation
    recorded_events = {
        "installation_id": installation.installation_id,
        "provider": installation.provider,
        "organization": installation.organization,
        "url": installation.url,
        "app_id": installation.app_id,
        "provider_installation_id": installation.provider_installation_id,
    }
    return [Statement(QUERIES["added"], {**_identity(event), **recorded_events}, "installations")]


def _removed(event: Project.InstallationRemoved) -> list[Statement]:
    return [Statement(QUERIES["removed"], {**_identity(event), "installation_id": event.installation_id})]


def _identity(event: Any) -> dict[str, object]:
    return {"stream": event.originator_id, "version": event.originator_version}


PROJECTORS: Mapping[type, Callable[[Any], Sequence[Statement]]] = {
    Project.InstallationAdded: _added,
    Project.InstallationRemoved: _removed,
}
