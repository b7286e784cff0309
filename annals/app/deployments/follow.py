"""A build's log as server-sent events, which end with the build."""

import asyncio

import msgspec
from litestar.response import ServerSentEventMessage

from annals.app.deployments import queries
from annals.app.edge.call import Call
from annals.app.edge.event_stream import News, event
from annals.app.wire import encode
from annals.domain.deployment import OPEN
from annals.store.postgres.database import Row

PAUSE = 0.2
"""Seconds between two reads of a running build."""


class BuildEnded(msgspec.Struct):
    """The data of the last event."""

    status: str


class BuildOutput:
    """Yields an event `log` with each new piece of text as a JSON string, then one event `end` with the status.

    An event's id holds the build attempt and the number of characters sent so far; `Last-Event-ID` resumes from there.
    If the text no longer begins with the text that was sent (a new attempt, or a log that was cut), it is sent again
    from its start.
    """

    def __init__(self, call: Call, row: Row) -> None:
        self._call, self._row = call, row
        self._epoch, self._sent_characters = _resumed(call)
        self._shown: str | None = None
        self._looked = False

    async def look(self) -> News:
        if self._looked:
            row = await queries.find_row(self._call, self._row["deployment_id"])
            if row is None:
                return News([_end("deleted")], ended=True)
            self._row = row
        text, epoch = await queries.shown_log(self._call, self._row), self._row["epoch"]
        if not self._looked and epoch == self._epoch and self._sent_characters <= len(text):
            self._shown = text[: self._sent_characters]
        new = _after(text, self._shown if epoch == self._epoch else None)
        self._epoch, self._shown, self._looked = epoch, text, True
        events = [event(encode(new), name="log", own_id=f"{epoch}-{len(text)}")] if new else []
        if self._row["status"] not in OPEN:
            return News([*events, _end(self._row["status"])], ended=True)
        return News(events)

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(min(PAUSE, seconds))


def _end(status: str) -> ServerSentEventMessage:
    return event(encode(BuildEnded(status)), name="end")


def _after(text: str, shown: str | None) -> str:
    """Return the part of the text that was not sent yet. A stored log may have lost spaces before its last line."""
    for known in (shown, shown and shown.rstrip()):
        if known and text.startswith(known):
            return text[len(known) :]
    return text


def _resumed(call: Call) -> tuple[int, int]:
    """Return the attempt and the number of characters that the client has, or zeros if it sent no valid id."""
    epoch, _, sent_characters = call.header(b"last-event-id").partition("-")
    if epoch.isdecimal() and sent_characters.isdecimal() and len(epoch) < 10 and len(sent_characters) < 10:
        return int(epoch), int(sent_characters)
    return 0, 0
