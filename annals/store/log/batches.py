"""Which of the waiting requests share the next transaction."""

import asyncio
from collections import deque

from annals.store.log.request import BYTE_LIMIT, EVENT_LIMIT, Appended, AppendRequest


class QueuedAppend:
    """A request in the queue: when to give up on a database that is away, and whether it may be stored already."""

    __slots__ = ("answer", "deadline", "losses", "request", "size", "streams")

    def __init__(self, request: AppendRequest, size: int, deadline: float, answer: asyncio.Future[Appended]) -> None:
        self.request, self.size, self.deadline, self.answer = request, size, deadline, answer
        self.streams = request.streams
        self.losses = 0

    @property
    def alone(self) -> bool:
        """Whether it shares no batch."""
        return self.losses > 0 or self.request.alone

    def resolve(self, outcome: Appended | Exception) -> None:
        if self.answer.done():  # its caller was cancelled; what was committed stays committed
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


def take(queue: deque[QueuedAppend]) -> list[QueuedAppend]:
    """Remove the next batch from a queue: in order, within the bounds, each stream at most once.

    A second request for a stream waits for the next batch, and so does whoever shares a stream with one that waits:
    nobody overtakes. A request whose connection broke before goes alone, for it may be what breaks connections; so does
    one that is to be alone.
    """
    batch: list[QueuedAppend] = []
    left: list[QueuedAppend] = []
    streams: set[str] = set()
    events = size = 0
    while queue:
        waiting = queue.popleft()
        if waiting.answer.done():  # cancelled before it was sent
            continue
        full = events + len(waiting.request.events) > EVENT_LIMIT or size + waiting.size > BYTE_LIMIT
        if batch and (full or waiting.alone):
            left.append(waiting)
            break
        if streams.isdisjoint(waiting.streams):
            batch.append(waiting)
            events += len(waiting.request.events)
            size += waiting.size
        else:
            left.append(waiting)
        streams |= waiting.streams
        if waiting.alone:
            break
    queue.extendleft(reversed(left))
    return batch
