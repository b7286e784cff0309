"""A project's events as server-sent events: in order, from any position, without gaps."""

from collections.abc import AsyncIterator, Iterator, Sequence

from litestar.response import ServerSentEventMessage

from annals.app.edge.call import Call
from annals.app.edge.event_stream import News, event, follow
from annals.app.history.events import EventFilter, is_own
from annals.app.history.presenting import Presenter
from annals.app.wire import encode
from annals.domain.project import Project
from annals.store.log.reader import RecordedEvent
from annals.store.postgres.listener import Listener

BATCH = 200


async def follow_feed(call: Call, after: int, wanted: EventFilter) -> AsyncIterator[ServerSentEventMessage]:
    """Yield events named by their type, with their position as id, until the client leaves or the project is deleted.

    If no event of a batch matches, a bare id tells the client how far the feed has been read, so that it can resume
    there.
    """
    since = await call.incarnation()
    async with call.services.listening.entered() as listener:
        async for message in follow(_Feed(call, listener, wanted, since, after)):
            yield message


class _Feed:
    def __init__(self, call: Call, listener: Listener, wanted: EventFilter, since: int, after: int) -> None:
        self._reader = call.services.log.reader
        self._project = call.project_id
        self._wanted = wanted
        self._since = since
        self._presenter = Presenter(call.services.database)
        self._listener, self._heard = listener, listener.count
        self._position = max(after, since - 1)
        self._behind = True

    async def look(self) -> News:
        self._heard = self._listener.count
        batch = await self._reader.after(self._position, BATCH, project=self._project)
        self._behind = bool(batch)
        if not batch:
            return News([])
        self._position = batch[-1].position
        fitting = [
            recorded_event
            for recorded_event in _until_deletion(batch)
            if is_own(recorded_event, self._since) and self._wanted.fits(recorded_event)
        ]
        shown = await self._presenter.events(fitting)
        events = [
            event(encode(one), name=one.type, own_id=str(recorded_event.position))
            for recorded_event, one in zip(fitting, shown, strict=True)
        ]
        ended = any(isinstance(recorded_event.event, Project.Deleted) for recorded_event in batch)
        return News(events or [event(own_id=str(self._position))], ended)

    async def wait(self, seconds: float) -> None:
        if not self._behind:
            await self._listener.wait(self._heard, seconds)


def _until_deletion(recorded_events: Sequence[RecordedEvent]) -> Iterator[RecordedEvent]:
    """Yield a project's events up to its deletion. Later events belong to the next project of its id."""
    for recorded_event in recorded_events:
        yield recorded_event
        if isinstance(recorded_event.event, Project.Deleted):
            return
