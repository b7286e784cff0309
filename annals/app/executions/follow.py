"""What an execution writes, while it runs: server-sent events that end with it."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from annals.app.edge.call import Call
from annals.app.executions import queries
from annals.app.wire import encode
from annals.domain.ports import Output
from annals.store.postgres.database import Row

PAUSE = 0.2
"""Seconds between looks at an execution that has not ended."""

SILENCE = 15.0
"""Seconds after which a comment shows that the connection still is one."""


class Ended(msgspec.Struct):
    """The last event's data; `reason` says why it failed."""

    status: str
    reason: str


async def follow(call: Call, row: Row) -> AsyncIterator[bytes]:
    """Events `log` and `error` with new text as a JSON string, then one `end` with status and reason.

    Each id is the characters told of both; `Last-Event-ID` goes on from there. Text that is no longer the one that was
    told (a beginning that was cut, the platform's sentence before it) is told anew from its start.
    """
    told, shown = _resumed(call), Output()
    first, quiet = True, 0.0
    while True:
        output = await queries.told_output(call, row)
        if first:
            shown, first = Output(output.logs[: told[0]], output.errors[: told[1]]), False
        pieces = _after(output, shown)
        if pieces:  # there are none between the end of a run and its record: then the executor knows it no more
            shown, quiet = output, 0.0
            place = b"%d-%d" % (len(output.logs), len(output.errors))
            for kind, text in pieces:
                yield b"id: %b\nevent: %b\ndata: %b\n\n" % (place, kind, encode(text))
        if row["status"] in {"completed", "failed"}:
            yield b"event: end\ndata: %b\n\n" % encode(Ended(row["status"], row["reason"]))
            return
        await asyncio.sleep(PAUSE)
        quiet += PAUSE
        if quiet >= SILENCE:
            quiet = 0.0
            yield b": waiting\n\n"
        following = await queries.find_row(call, row["execution_id"])
        if following is None:
            yield b"event: end\ndata: %b\n\n" % encode(Ended("deleted", ""))
            return
        row = following


def _after(output: Output, shown: Output) -> list[tuple[bytes, str]]:
    """What was not told yet, by the event that tells it."""
    pairs = ((b"log", output.logs, shown.logs), (b"error", output.errors, shown.errors))
    new = [(kind, text[len(told) :] if text.startswith(told) else text) for kind, text, told in pairs]
    return [(kind, text) for kind, text in new if text]


def _resumed(call: Call) -> tuple[int, int]:
    """Characters that the client has of both; none when it says nothing that makes sense."""
    logs, _, errors = call.header(b"last-event-id").partition("-")
    if logs.isdecimal() and errors.isdecimal() and len(logs) < 10 and len(errors) < 10:
        return int(logs), int(errors)
    return 0, 0
