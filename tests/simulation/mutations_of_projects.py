"""Planted bugs of projects that are deleted and created again."""

from contextlib import AbstractContextManager
from unittest import mock

from annals.application import deletion
from annals.domain.base import AggregateEvent
from annals.store.log.log import EventLog
from annals.store.log.request import Statement
from tests.simulation.mutations import found_by, planted


@planted
def projects_are_not_checked() -> AbstractContextManager[object]:
    """An append is committed for a project that was deleted after the request was authorized."""
    return mock.patch.object(AggregateEvent, "REQUIRES_PROJECT", False)


@planted
def project_is_deleted_with_users_in_it() -> AbstractContextManager[object]:
    """A project is deleted although users or functions were created in it meanwhile."""
    return mock.patch.object(deletion, "Statement", return_value=Statement("SELECT 1", {}))


@found_by("project_reuse_meets_sealing")
def data_keys_are_not_checked() -> AbstractContextManager[object]:
    """A value is recorded although the key that sealed it was deleted."""
    return mock.patch.object(EventLog, "_keys_of", return_value=())
