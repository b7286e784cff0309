"""Job messages: each names a stream to look at, and may come late, twice or never."""

from collections.abc import Mapping
from typing import NamedTuple

from annals.store.log.log import Meta

RUN_EXECUTION = "run_execution"
STOP_EXECUTION = "stop_execution"
BUILD_DEPLOYMENT = "build_deployment"
STOP_BUILD = "stop_build"
RETIRE_DEPLOYMENT = "retire_deployment"
RETIRE_FUNCTION = "retire_function"
WARM_FUNCTION = "warm_function"

EXECUTIONS = "executions"
BUILDS = "builds"
CLEANUP = "chores"

QUEUE_OF: Mapping[str, str] = {
    RUN_EXECUTION: EXECUTIONS,
    BUILD_DEPLOYMENT: BUILDS,
    STOP_EXECUTION: CLEANUP,
    STOP_BUILD: CLEANUP,
    RETIRE_DEPLOYMENT: CLEANUP,
    RETIRE_FUNCTION: CLEANUP,
    WARM_FUNCTION: CLEANUP,
}
"""The queue of each actor: those of one queue share its capacity in a worker."""


TENANT_QUEUED = frozenset({EXECUTIONS})
"""Queues that serve one project after the other."""


class Cause(NamedTuple):
    """The cause of work: the position of the event that led to it (0: unknown), and the first request's id."""

    position: int = 0
    correlation: str = ""

    def meta(self, actor: str) -> Meta:
        """Return the metadata of events with this cause."""
        return Meta(actor=actor, causation=str(self.position or ""), correlation=self.correlation)

    def then(self, position: int) -> "Cause":
        """Return the cause of work that follows from a further event."""
        return self._replace(position=position)


UNKNOWN = Cause()


class JobMessage(NamedTuple):
    """A message for an actor; `stream` names the aggregate to look at."""

    actor: str
    stream: str
    cause: Cause = UNKNOWN


def split_stream(stream: str) -> tuple[str, str]:
    """Return the project and the id of a stream."""
    _, project_id, own_id = stream.split(":", 2)
    return project_id, own_id
