"""Accept calls that run later: seal the input, record the request, and notify a worker of a call that comes alone."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Self

from eventsourcing.persistence import StoredEvent

from annals.application.executions.context import Context, Environments
from annals.application.executions.request import ExecutionRequest, new_execution, route
from annals.capacity.shared_memory import Backpressure
from annals.domain.execution import Execution
from annals.store.content.blobs import Blob
from annals.store.content.contents import Content
from annals.store.content.inputs import digest_and_size, seal_input
from annals.store.coordination.direct_dispatch import DirectDispatch, DirectDispatcher, socket_prefix
from annals.store.log.log import EventLog, Recorded
from annals.store.secrets.vault import Vault

SEVERAL = 4
"""Calls in hand from which on workers should leave the host to the API: one to three callers leave it idle at times."""


class Accepting:
    """Counts the calls that one process accepts at the moment."""

    def __init__(
        self, backpressure: Backpressure, direct_dispatcher: DirectDispatcher, waiting: Callable[[], int]
    ) -> None:
        """`waiting` returns how many requests of the process wait in the fair queue."""
        self._backpressure = backpressure
        self._direct_dispatcher = direct_dispatcher
        self._waiting = waiting
        self._in_hand = 0

    @classmethod
    @contextmanager
    def opened(cls, executor_urls: Sequence[str], waiting: Callable[[], int]) -> Iterator[Self]:
        """Open the ways to the workers of this host, which are beside its executor's socket."""
        with closing(DirectDispatcher(socket_prefix(executor_urls))) as dispatcher:
            yield cls(Backpressure.open(executor_urls), dispatcher, waiting)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one call while it is read, sealed and recorded."""
        self._in_hand += 1
        if not self.alone:
            self._backpressure.raise_flag()
        try:
            yield
        finally:
            self._in_hand -= 1

    @property
    def alone(self) -> bool:
        """Return True if so few calls are accepted that a worker is notified directly."""
        return self._in_hand + self._waiting() < SEVERAL

    def dispatch(self, event: StoredEvent, position: int, correlation: str, sealed: Content) -> None:
        """Notify a worker of a recorded call that runs now, with the event of its request and the sealed input."""
        data = b"" if isinstance(sealed.data, Blob) else sealed.data
        self._direct_dispatcher.send(
            DirectDispatch(str(event.originator_id), event.originator_version, position, correlation, event.state, data)
        )


async def seal(vault: Vault, request: ExecutionRequest) -> Content:
    """Return the request's input, sealed for its execution. Raises DataKeyDeleted, StoreUnavailable."""
    stream = Execution.stream(request.project_id, request.execution_id)
    return await seal_input(vault, request.project_id, stream, request.input)


async def accept(
    log: EventLog,
    environments: Environments,
    request: ExecutionRequest,
    context: Context,
    sealed: Content,
    *,
    due: datetime | None,
) -> Recorded:
    """Record a call that runs later, now or when it is `due`, with its sealed input. Raises as the store does."""
    digest, size = digest_and_size(sealed)
    context = await route(environments, request, context)
    execution = new_execution(request, context, scheduled_at=due, input_digest=digest, input_size=size)
    return await log.record([execution], meta=request.meta, contents=[sealed])
