"""Statements that remove what goes with a resource but is no read model: contents, build log pieces, a data key.

They share the event's transaction and run before the read models' statements, which remove the rows that they search.
A rebuild leaves them out, since their rows are gone already.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.project import Project
from annals.domain.retention import Retention
from annals.projections.executions import sweep_range
from annals.store.log.request import Statement
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "discards.sql")
CANCELED = "\nBuild has been canceled.\n"


def _deleted(event: Any) -> list[Statement]:
    identity = {"stream": event.originator_id, "version": event.originator_version}
    return [Statement(QUERIES["contents_of_stream"], identity)]


def _deployment_deleted(event: Deployment.Deleted) -> list[Statement]:
    return [*_deleted(event), *_build_ended(event)]


def _build_ended(event: Any) -> list[Statement]:
    return [Statement(QUERIES["build_log"], {"stream": event.originator_id})]


def _build_canceled(event: Deployment.BuildCanceled) -> list[Statement]:
    return [Statement(QUERIES["canceled_build_log"], {"stream": event.originator_id, "sentence": CANCELED})]


def _function_deleted(event: Function.Deleted) -> list[Statement]:
    stream = {"stream": event.originator_id}
    return [Statement(QUERIES["abandoned_builds"], stream), Statement(QUERIES["contents_of_function"], stream)]


def _project_deleted(event: Project.Deleted) -> list[Statement]:
    stream = {"stream": event.originator_id}
    names = ("contents_of_project", "hold_project", "data_key_of_project")
    return [Statement(QUERIES[name], stream) for name in names]


def _swept(event: Retention.ExecutionsSwept) -> list[Statement]:
    return [Statement(QUERIES["contents_of_swept"], sweep_range(event))]


DISCARDS: Mapping[type, Callable[[Any], Sequence[Statement]]] = {
    Execution.Deleted: _deleted,
    Deployment.Deleted: _deployment_deleted,
    Deployment.BuildSucceeded: _build_ended,
    Deployment.BuildFailed: _build_ended,
    Deployment.BuildCanceled: _build_canceled,
    Function.Deleted: _function_deleted,
    Project.Deleted: _project_deleted,
    Retention.ExecutionsSwept: _swept,
}
