"""A project's events as they happen: server-sent, in order, from any position, with nothing left out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence

from annals.app.edge.call import Call
from annals.app.history.events import EventFilter, is_own
from annals.app.history.presenting import Presenter
from annals.app.wire import encode
from annals.domain.project import Project
from annals.store.log.reader import RecordedEvent

BATCH = 200
SILENCE = 15.0
"""Seconds after which a comment shows that the connection still is one."""


async def follow(call: Call, after: int, wanted: EventFilter) -> AsyncIterator[bytes]:
    """Events named by their type, with their position as id, until the client leaves or the project is deleted.

    Where none of a batch is wanted, a bare id tells how far the feed is, so that a client goes on from there.
    """
    recorded_events, since = call.services.log.reader, await call.incarnation()
    position, over = max(after, since - 1), False
    presenter = Presenter(call.services.database)
    left = asyncio.ensure_future(call.left())
    try:
        async with call.services.listening.entered() as listener:
            while not left.done() and not over:
                heard = listener.count
                batch = await recorded_events.after(position, BATCH, project=call.project_id)
                if batch:
                    position = batch[-1].position
                    over = any(isinstance(recorded_event.event, Project.Deleted) for recorded_event in batch)
                    fitting = [
                        recorded_event
                        for recorded_event in _until_deletion(batch)
                        if is_own(recorded_event, since) and wanted.fits(recorded_event)
                    ]
                    for recorded_event, event in zip(fitting, await presenter.events(fitting), strict=True):
                        yield b"id: %d\nevent: %b\ndata: %b\n\n" % (
                            recorded_event.position, event.type.encode(), encode(event)
                        )  # fmt: skip
                    if not fitting:
                        yield b"id: %d\n\n" % position
                    continue
                waiting = asyncio.ensure_future(listener.wait(heard, SILENCE))
                await asyncio.wait({waiting, left}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if listener.count == heard and not left.done():
                    yield b": waiting\n\n"
    finally:
        left.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await left


def _until_deletion(recorded_events: Sequence[RecordedEvent]) -> Iterator[RecordedEvent]:
    """A project's facts up to its deletion: what follows belongs to the next project of its id."""
    for recorded_event in recorded_events:
        yield recorded_event
        if isinstance(recorded_event.event, Project.Deleted):
            return
