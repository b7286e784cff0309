"""A build's log as server-sent events, which end with the build."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from annals.app.deployments import queries
from annals.app.edge.call import Call
from annals.app.wire import encode
from annals.domain.deployment import OPEN
from annals.store.postgres.database import Row

PAUSE = 0.2
"""Seconds between two reads of a running build."""

SILENCE = 15.0
"""Seconds without an event after which a comment shows that the connection is alive."""


class BuildEnded(msgspec.Struct):
    """The data of the last event."""

    status: str


async def follow(call: Call, row: Row) -> AsyncIterator[bytes]:
    """Yield an event `log` with each new piece of text as a JSON string, then one event `end` with the status.

    An event's id holds the build attempt and the number of characters sent so far; `Last-Event-ID` resumes from there.
    If the text no longer begins with the text that was sent (a new attempt, or a log that was cut), it is sent again
    from its start.
    """
    deployment_id = row["deployment_id"]
    epoch, sent_characters = _resumed(call)
    shown: str | None = None
    quiet = 0.0
    while True:
        text = await queries.shown_log(call, row)
        if shown is None and row["epoch"] == epoch and sent_characters <= len(text):
            shown = text[:sent_characters]
        new = _after(text, shown if row["epoch"] == epoch else None)
        epoch, shown = row["epoch"], text
        if new:
            quiet = 0.0
            yield b"id: %d-%d\nevent: log\ndata: %b\n\n" % (epoch, len(text), encode(new))
        if row["status"] not in OPEN:
            yield b"event: end\ndata: %b\n\n" % encode(BuildEnded(row["status"]))
            return
        await asyncio.sleep(PAUSE)
        quiet += PAUSE
        if quiet >= SILENCE:
            quiet = 0.0
            yield b": waiting\n\n"
        following = await queries.find_row(call, deployment_id)
        if following is None:
            yield b"event: end\ndata: %b\n\n" % encode(BuildEnded("deleted"))
            return
        row = following


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
