"""An execution's stored logs or errors as a file, whole or by range."""

from collections.abc import AsyncIterator
from typing import NamedTuple

from litestar.response import Stream

from annals.app.as_of.rows import Tables
from annals.app.deployments.ranges import requested_range
from annals.app.edge.answers import stream_answer
from annals.app.edge.call import Call
from annals.app.executions import queries
from annals.application.executions.record_outcome import WHOLE
from annals.store.content.blobs import BlobMissing
from annals.store.content.digest_checks import BlobReader, RecordedBlob
from annals.store.postgres.database import Row


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
