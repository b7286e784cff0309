"""The output of an execution: as a file, whole or by range, and as server-sent events, which end with the execution."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec
from litestar.response import ServerSentEventMessage, Stream

from annals.app.as_of.rows import Tables
from annals.app.deployments.ranges import requested_range
from annals.app.edge.answers import stream_answer
from annals.app.edge.call import Call
from annals.app.edge.event_stream import News, event
from annals.app.executions import queries
from annals.app.wire import encode
from annals.application.executions.record_outcome import WHOLE
from annals.domain.ports import Output
from annals.store.content.blobs import BlobMissing
from annals.store.content.digest_checks import BlobReader, RecordedBlob
from annals.store.postgres.database import Row

PAUSE = 0.2
"""Seconds between looks at an execution that has not ended."""


class _Text(NamedTuple):
    """Bytes in hand, and the blob that follows them."""

    head: bytes
    rest: RecordedBlob | None = None

    @property
    def size(self) -> int:
        return len(self.head) + (self.rest.size if self.rest else 0)

    async def span(self, blobs: BlobReader, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end`. Raises ContentDamaged as `BlobReader.span` does."""
        known = len(self.head)
        behind = None
        if self.rest is not None and end > known:
            behind = await blobs.span(self.rest, max(0, start - known), end - known)
        return _joined(self.head[start:end], behind)


async def download(call: Call, row: Row, kind: str, tables: Tables) -> Stream:
    """Return the text, or the output so far of a running execution. Raises RangeInvalid, ContentDamaged."""
    text = await _text(call, row, kind, tables)
    size = text.size
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-disposition", f'attachment; filename="{row["execution_id"]}-{kind}.txt"'.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"accept-ranges", b"bytes"),
    ]
    blobs = call.services.checked
    asked = requested_range(call.header(b"range"), size)
    if asked is None:
        return stream_answer(await text.span(blobs, 0, size), status=200, headers=headers, length=size)
    start, end = asked
    headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size)))
    return stream_answer(await text.span(blobs, start, end), status=206, headers=headers, length=end - start)


async def _text(call: Call, row: Row, kind: str, tables: Tables) -> _Text:
    """Return the text of a row. One of a past moment may be that of an earlier attempt."""
    if row["status"] == "processing" and tables.past is None:
        return _Text(getattr(await queries.read_output(call, row), kind).encode())
    where = {"stream": row["stream_id"], "version": row["logs_version"], "kind": WHOLE.format(kind)}
    whole = await call.services.database.row(queries.QUERIES["whole"], where)
    if whole is not None:
        try:
            await call.services.blobs.head(whole["blob"])
        except BlobMissing:
            whole = None
    if whole is None:
        return _Text(await queries.recorded_text(call, row, kind))
    sentence = f"{row['message']}\n" if kind == "errors" and row["message"] else ""
    name = f"All of the {kind} of {row['stream_id']}"
    return _Text(sentence.encode(), RecordedBlob(whole["blob"], whole["digest"], whole["size"], name))


async def _joined(head: bytes, rest: AsyncIterator[bytes] | None) -> AsyncIterator[bytes]:
    if head:
        yield head
    if rest is not None:
        async for piece in rest:
            yield piece


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
