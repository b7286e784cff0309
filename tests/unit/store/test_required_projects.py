"""The appends that require the project for which their request was authorized."""

from annals.domain.execution import Execution
from annals.domain.project import Project
from annals.projections import inline  # noqa: F401 - it imports every aggregate
from annals.store.log.mapper import event_classes

EVENTS = [event for event in event_classes().values() if event.__module__.startswith("annals.")]

_COURSE = {
    Execution.Requested,
    Execution.Completed,
    Execution.Failed,
    Execution.RetryScheduled,
    Execution.DeadLettered,
    Execution.OutputKept,
}
"""What a call's own course records: its function's incarnation guards it, and a warm call pays for nothing else."""


def test_every_event_but_those_of_a_call_requires_its_project() -> None:
    assert {event for event in EVENTS if not event.REQUIRES_PROJECT} == _COURSE


def test_only_the_deletion_of_a_project_shares_no_transaction() -> None:
    assert [event for event in EVENTS if event.ENDS_PROJECT] == [Project.Deleted]
