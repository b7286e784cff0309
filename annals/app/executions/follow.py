"""The output of a running execution as server-sent events, which end with the execution."""

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


class ExecutionEnd(msgspec.Struct):
    """The last event's data; `reason` says why it failed."""

    status: str
    reason: str


class ExecutionOutput:
    """Events `log` and `error` with new text as a JSON string, then one `end` with status and reason.

    Each id counts the characters sent of both, and `Last-Event-ID` resumes there. A text whose start changed (it was
    cut, or has the platform's sentence in front now) is sent again from its start.
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
        output = await queries.output_or_damage(call, self._row)
        if self._shown is None:
            logs, errors = _resumed(call)
            self._shown = Output(output.logs[:logs], output.errors[:errors])
        events = _after(output, self._shown)
        if events:  # none between a run's end and its record, when the executor does not know the run any more
            self._shown = output
        if self._row["status"] in {"completed", "failed"}:
            return News([*events, _end(self._row["status"], self._row["reason"])], ended=True)
        return News(events)

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(min(PAUSE, seconds))


def _end(status: str, reason: str) -> ServerSentEventMessage:
    return event(encode(ExecutionEnd(status, reason)), name="end")


def _after(output: Output, shown: Output) -> list[ServerSentEventMessage]:
    """Return the events of the text that was not sent yet."""
    pairs = (("log", output.logs, shown.logs), ("error", output.errors, shown.errors))
    new = [(name, text[len(sent) :] if text.startswith(sent) else text) for name, text, sent in pairs]
    own_id = f"{len(output.logs)}-{len(output.errors)}"
    return [event(encode(text), name=name, own_id=own_id) for name, text in new if text]


def _resumed(call: Call) -> tuple[int, int]:
    """Return how many characters of both the client has; zeros for a missing or invalid header."""
    logs, _, errors = call.header(b"last-event-id").partition("-")
    if logs.isdecimal() and errors.isdecimal() and len(logs) < 10 and len(errors) < 10:
        return int(logs), int(errors)
    return 0, 0
