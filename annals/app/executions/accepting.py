"""Calls that are being accepted: one alone is told of at a worker's door, several at once let the workers wait."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from eventsourcing.persistence import StoredEvent

from annals.capacity.shared_memory import Backpressure
from annals.store.content.blobs import Blob
from annals.store.content.contents import Content
from annals.store.coordination.direct_dispatch import DirectDispatch, DirectDispatcher

SEVERAL = 4
"""Calls in hand from which on accepting is hard work: a caller alone, or three, leave a host idle between answers."""


class Accepting:
    """One per process."""

    def __init__(
        self, backpressure: Backpressure, direct_dispatcher: DirectDispatcher, waiting: Callable[[], int]
    ) -> None:
        """`waiting`: how many requests of the process wait for their turn."""
        self._backpressure, self._direct_dispatcher, self._waiting, self._in_hand = (
            backpressure,
            direct_dispatcher,
            waiting,
            0,
        )

    @contextmanager
    def one(self) -> Iterator[None]:
        """While one call is read, sealed and recorded."""
        self._in_hand += 1
        if not self.alone:
            self._backpressure.raise_flag()
        try:
            yield
        finally:
            self._in_hand -= 1

    @property
    def alone(self) -> bool:
        """Whether what is accepted now is told at a door: more is not about to be."""
        return self._in_hand + self._waiting() < SEVERAL

    def accepted(self, recorded: StoredEvent, position: int, correlation: str, given: Content) -> None:
        """Tell a worker of what is to run now and was recorded."""
        stream, version = str(recorded.originator_id), recorded.originator_version
        sealed = b"" if isinstance(given.data, Blob) else given.data
        self._direct_dispatcher.direct_dispatch(
            DirectDispatch(stream, version, position, correlation, recorded.state, sealed)
        )
