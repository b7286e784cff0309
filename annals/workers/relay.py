"""The relay: follows the log and sends workers job messages, after the commit and at least once."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.store.log.follower import Send
from annals.store.log.reader import RecordedEvent
from annals.workers.job_messages import (
    BUILD_DEPLOYMENT,
    RETIRE_DEPLOYMENT,
    RETIRE_FUNCTION,
    RUN_EXECUTION,
    STOP_BUILD,
    STOP_EXECUTION,
    WARM_FUNCTION,
    Cause,
    JobMessage,
)


class Notification(Protocol):
    """The part of the broker that sends job messages."""

    def wake(self, job_messages: Iterable[JobMessage]) -> int: ...


def reactions(event: Any) -> Iterator[str]:
    """Yield the actors that an event calls for, on its own stream."""
    match event:
        case Execution.Requested(epoch=0, scheduled_at=None):
            yield RUN_EXECUTION
        case Execution.Canceled():
            yield STOP_EXECUTION
        case Deployment.BuildQueued():
            yield BUILD_DEPLOYMENT
        case Deployment.BuildCanceled():
            yield STOP_BUILD
        case Deployment.Deleted():
            yield RETIRE_DEPLOYMENT
        case Function.PolicyChanged() | Function.DeploymentActivated():
            yield WARM_FUNCTION
        case Function.Deleted():
            yield RETIRE_FUNCTION


def wants(event: Any) -> bool:
    """Return True if an event calls for an actor."""
    return next(reactions(event), None) is not None


def job_messages(recorded_events: Iterable[RecordedEvent]) -> list[JobMessage]:
    """Return the job messages of a batch, in order; a batch that is seen twice has the same."""
    return [
        JobMessage(
            actor,
            recorded_event.event.originator_id,
            Cause(recorded_event.position, recorded_event.event.metadata.get("correlation", "")),
        )
        for recorded_event in recorded_events
        for actor in reactions(recorded_event.event)
    ]


def sender(notification: Notification) -> Send:
    """Return the follower's send call. It raises QueueUnavailable while Redis is away, and the follower waits."""

    async def send(recorded_events: Sequence[RecordedEvent]) -> None:
        if due := job_messages(recorded_events):
            await asyncio.to_thread(notification.wake, due)

    return send
