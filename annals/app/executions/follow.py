"""What an execution writes, while it runs: server-sent events that end with it."""

import asyncio

import msgspec
from litestar.response import ServerSentEventMessage

from annals.app.edge.call import Call
from annals.app.edge.event_stream import News, event
from annals.app.executions import queries
from annals.app.wire import encode
from annals.domain.ports import Output
from annals.store.postgres.database import Row

PAUSE = 0.2
"""Seconds between looks at an execution that has not ended."""


class Ended(msgspec.Struct):
    """The last event's data; `reason` says why it failed."""

    status: str
    reason: str


class ExecutionOutput:
    """Events `log` and `error` with new text as a JSON string, then one `end` with status and reason.

    Each id is the characters told of both; `Last-Event-ID` goes on from there. Text that is no longer the one that was
    told (a beginning that was cut, the platform's sentence before it) is told anew from its start.
    """

    def __init__(self, call: Call, row: Row) -> None:
        self._call, self._row = call, row
        self._shown: Output | None = None

    async def look(self) -> News:
        call = self._call
        if self._shown is not None:
            row = await queries.find_row(call, self._row["execution_id"])
            if row is None:
                return News([_end("deleted", "")], ended=True)
            self._row = row
        output = await queries.told_output(call, self._row)
        if self._shown is None:
            logs, errors = _resumed(call)
            self._shown = Output(output.logs[:logs], output.errors[:errors])
        events = _after(output, self._shown)
        if events:  # there are none between the end of a run and its record: then the executor knows it no more
            self._shown = output
        if self._row["status"] in {"completed", "failed"}:
            return News([*events, _end(self._row["status"], self._row["reason"])], ended=True)
        return News(events)

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(min(PAUSE, seconds))


def _end(status: str, reason: str) -> ServerSentEventMessage:
    return event(encode(Ended(status, reason)), name="end")


def _after(output: Output, shown: Output) -> list[ServerSentEventMessage]:
    """What was not told yet, by the event that tells it."""
    pairs = (("log", output.logs, shown.logs), ("error", output.errors, shown.errors))
    new = [(name, text[len(told) :] if text.startswith(told) else text) for name, text, told in pairs]
    own_id = f"{len(output.logs)}-{len(output.errors)}"
    return [event(encode(text), name=name, own_id=own_id) for name, text in new if text]


def _resumed(call: Call) -> tuple[int, int]:
    """Characters that the client has of both; none when it says nothing that makes sense."""
    logs, _, errors = call.header(b"last-event-id").partition("-")
    if logs.isdecimal() and errors.isdecimal() and len(logs) < 10 and len(errors) < 10:
        return int(logs), int(errors)
    return 0, 0
