"""Which projects are there."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from annals.domain.project import Project
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "projects.sql")


def _created(event: Project.Created) -> list[Statement]:
    recorded_events = {"project_id": event.project_id, "name": event.name}
    return [Statement(QUERIES["created"], {**_identity(event), **recorded_events}, "projects")]


def _renamed(event: Project.Renamed) -> list[Statement]:
    return [Statement(QUERIES["renamed"], {**_identity(event), "name": event.name}, "projects")]


def _deleted(event: Project.Deleted) -> list[Statement]:
    return [Statement(QUERIES["deleted"], _identity(event))]


def _identity(event: Any) -> dict[str, object]:
    return {"stream": event.originator_id, "version": event.originator_version}


PROJECTORS: Mapping[type, Callable[[Any], Sequence[Statement]]] = {
    Project.Created: _created,
    Project.Renamed: _renamed,
    Project.Deleted: _deleted,
}
