"""Downloads of sources and build outputs, as a whole or by range."""

from litestar.response import Stream

from annals.app.deployments.ranges import parse_range
from annals.app.edge.answers import stream_answer
from annals.app.edge.call import Call
from annals.domain.errors import DeploymentNotFound
from annals.store.content.blobs import BlobMissing
from annals.store.content.digest_checks import RecordedBlob
from annals.store.postgres.database import Row


async def download(call: Call, row: Row, kind: str) -> Stream:
    """Return a deployment's file. Raises DeploymentNotFound if it has none (any more), RangeInvalid, ContentDamaged."""
    blob = await _find_blob(call, row, kind)
    name, content_type = _file_name_and_type(call, row["deployment_id"], kind, blob.key)
    headers = [
        (b"content-type", content_type),
        (b"content-disposition", f'attachment; filename="{name}"'.encode()),
        (b"cache-control", b"private, max-age=3888000"),
    ]
    range_header = call.header(b"range")
    if not range_header:
        stream = await call.services.checked.span(blob, 0, blob.size)
        return stream_answer(stream, status=200, headers=headers, length=blob.size)
    start, end = parse_range(range_header, blob.size)
    headers += [(b"accept-ranges", b"bytes"), (b"content-range", b"bytes %d-%d/%d" % (start, end, blob.size))]
    stream = await call.services.checked.span(blob, start, end + 1)
    return stream_answer(stream, status=206, headers=headers, length=end + 1 - start)


async def _find_blob(call: Call, row: Row, kind: str) -> RecordedBlob:
    name, size = ("source", "source_size") if kind == "source" else ("artefact", "build_size")
    key = row[f"{name}_key"]
    if not key:
        raise DeploymentNotFound
    try:
        await call.services.blobs.head(key)
    except BlobMissing:
        raise DeploymentNotFound from None
    return RecordedBlob(key, row[f"{name}_digest"], row[size], f"The {name} of {row['stream_id']}")


def _file_name_and_type(call: Call, deployment_id: str, kind: str, key: str) -> tuple[str, bytes]:
    """Return the file name and content type for the caller's API version."""
    if kind == "output" and call.api_version.newest:
        return f"{deployment_id}-output-{key.rpartition('/')[2]}", b"application/octet-stream"
    return f"{deployment_id}-{kind}.tar.gz", b"application/gzip"
