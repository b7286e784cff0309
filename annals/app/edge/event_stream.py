"""Server-sent events of a source, until the source ends or the client disconnects."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from litestar.response import ServerSentEventMessage

SILENCE = 15.0
"""Seconds without an event after which a comment shows that the connection is alive."""


class News(NamedTuple):
    """New events since the last look, and whether the source has ended."""

    events: Sequence[ServerSentEventMessage]
    ended: bool = False


class Source(Protocol):
    """A source of events."""

    async def look(self) -> News: ...

    async def wait(self, seconds: float) -> None:
        """Return when there may be news, or after some seconds."""


def event(data: bytes | None = None, *, name: str | None = None, own_id: str | None = None) -> ServerSentEventMessage:
    """Return an event. Without data it is a bare id, from which a client resumes."""
    return ServerSentEventMessage(data=data, event=name, id=own_id, sep="\n")


async def follow(source: Source) -> AsyncIterator[ServerSentEventMessage]:
    """Yield every event of a source, and a comment after SILENCE."""
    clock = asyncio.get_running_loop().time
    said = clock()
    while True:
        news = await source.look()
        for message in news.events:
            yield message
        if news.ended:
            return
        if news.events:
            said = clock()
        await source.wait(max(0.0, said + SILENCE - clock()))
        if clock() >= said + SILENCE:
            said = clock()
            yield ServerSentEventMessage(data=None, comment="waiting", sep="\n")
