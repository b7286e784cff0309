"""A project's events as server-sent events: in order, from any position, without gaps."""

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
"""Seconds without an event after which a comment shows that the connection is alive."""


async def follow(call: Call, after: int, wanted: EventFilter) -> AsyncIterator[bytes]:
    """Yield events named by their type, with their position as id, until the client leaves or the project is deleted.

    If no event of a batch matches, a bare id tells the client how far the feed has been read, so that it can resume
    there.
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
    """Yield a project's events up to its deletion. Later events belong to the next project of its id."""
    for recorded_event in recorded_events:
        yield recorded_event
        if isinstance(recorded_event.event, Project.Deleted):
            return
