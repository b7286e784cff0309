"""The relay: follows the log and wakes workers for what happened. It sends after the commit, at least once."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from annals.domain.deployment import Deployment
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.store.log.follower import Send
from annals.store.log.reader import Fact
from annals.workers.job_messages import (
    BUILD_DEPLOYMENT,
    RETIRE_DEPLOYMENT,
    RETIRE_FUNCTION,
    RUN_EXECUTION,
    STOP_BUILD,
    STOP_EXECUTION,
    WARM_FUNCTION,
    Cause,
    WakeUp,
)


class Bell(Protocol):
    """Where wake-ups are sent."""

    def wake(self, wake_ups: Iterable[WakeUp]) -> int: ...


def reactions(event: Any) -> Iterator[str]:
    """The actors that an event calls for, on its own stream."""
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
    """Whether an event calls for an actor."""
    return next(reactions(event), None) is not None


def wake_ups(facts: Iterable[Fact]) -> list[WakeUp]:
    """The wake-ups of a batch, in order; a batch seen twice gives the same."""
    return [
        WakeUp(actor, fact.event.originator_id, Cause(fact.position, fact.event.metadata.get("correlation", "")))
        for fact in facts
        for actor in reactions(fact.event)
    ]


def sender(bell: Bell) -> Send:
    """What the follower sends by. It raises QueueUnavailable while Redis is away: the follower then waits."""

    async def send(facts: Sequence[Fact]) -> None:
        if due := wake_ups(facts):
            await asyncio.to_thread(bell.wake, due)

    return send
