"""A build's log as it grows: server-sent events that end with the build."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from annals.app.deployments import queries
from annals.app.edge.call import Call
from annals.app.wire import encode
from annals.domain.deployment import OPEN
from annals.store.postgres.database import Row

PAUSE = 0.2
"""Seconds between looks at a running build."""

SILENCE = 15.0
"""Seconds after which a comment shows that the connection still is one."""


class BuildEnded(msgspec.Struct):
    """The last event's data."""

    status: str


async def follow(call: Call, row: Row) -> AsyncIterator[bytes]:
    """Events `log` with new text as a JSON string, then one `end` with the status.

    Each id is the attempt and the characters told of it; `Last-Event-ID` goes on from there. When the text is no
    longer the one that was told (another attempt, or a log whose beginning was cut), it is told anew from its start.
    """
    deployment_id = row["deployment_id"]
    epoch, told = _resumed(call)
    shown: str | None = None
    quiet = 0.0
    while True:
        text = await queries.told_log(call, row)
        if shown is None and row["epoch"] == epoch and told <= len(text):
            shown = text[:told]
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
    """What of the text was not shown yet; a log that is kept for good may have lost blanks before its last line."""
    for known in (shown, shown and shown.rstrip()):
        if known and text.startswith(known):
            return text[len(known) :]
    return text


def _resumed(call: Call) -> tuple[int, int]:
    """Attempt and characters that the client has; nothing when it says none that make sense."""
    epoch, _, told = call.header(b"last-event-id").partition("-")
    if epoch.isdecimal() and told.isdecimal() and len(epoch) < 10 and len(told) < 10:
        return int(epoch), int(told)
    return 0, 0
