"""An execution's logs or errors as a file: all that was kept of them, whole or by range."""

from collections.abc import AsyncIterator
from typing import NamedTuple

from annals.app.answers import Answer
from annals.app.call import Call
from annals.app.deployments.ranges import asked_range
from annals.app.executions import queries
from annals.projections.settlement import WHOLE
from annals.store.blobs import BlobMissing, Blobs
from annals.store.database import Row


class _Text(NamedTuple):
    """Bytes in hand, and the blob that follows them, of `size` bytes."""

    head: bytes
    blob: str = ""
    size: int = 0

    async def span(self, blobs: Blobs, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end`."""
        known = len(self.head)
        if start < known:
            yield self.head[start:end]
        if end > known:
            async for piece in blobs.stream(self.blob, max(0, start - known), end - known):
                yield piece


async def download(call: Call, row: Row, kind: str) -> Answer:
    """Plain text; of a running execution what it has written so far. Raises RangeInvalid."""
    text = await _text(call, row, kind)
    size = len(text.head) + text.size
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-disposition", f'attachment; filename="{row["execution_id"]}-{kind}.txt"'.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"accept-ranges", b"bytes"),
    ]
    blobs = call.services.blobs
    asked = asked_range(call.header(b"range"), size)
    if asked is None:
        return Answer(200, headers=headers, stream=text.span(blobs, 0, size), length=size)
    start, end = asked
    headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size)))
    return Answer(206, headers=headers, stream=text.span(blobs, start, end), length=end - start)


async def _text(call: Call, row: Row, kind: str) -> _Text:
    if row["status"] == "processing":
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
    return _Text(sentence.encode(), whole["blob"], whole["size"])
