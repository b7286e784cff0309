"""Downloads of sources and build outputs, whole or by range."""

from annals.app.answers import Answer
from annals.app.call import Call
from annals.app.deployments.ranges import parse_range
from annals.domain.errors import DeploymentNotFound
from annals.store.blobs import BlobMissing
from annals.store.database import Row


async def download(call: Call, row: Row, kind: str) -> Answer:
    """A deployment's file. Raises DeploymentNotFound when there is none (any more), RangeInvalid."""
    key = row["source_key"] if kind == "source" else row["artefact_key"]
    if not key:
        raise DeploymentNotFound
    try:
        size = (await call.services.blobs.head(key)).size
    except BlobMissing:
        raise DeploymentNotFound from None
    name, content_type = _named(call, row["deployment_id"], kind, key)
    headers = [
        (b"content-type", content_type),
        (b"content-disposition", f'attachment; filename="{name}"'.encode()),
        (b"cache-control", b"private, max-age=3888000"),
    ]
    asked = call.header(b"range")
    if not asked:
        return Answer(200, headers=headers, stream=call.services.blobs.stream(key), length=size)
    start, end = parse_range(asked, size)
    headers += [(b"accept-ranges", b"bytes"), (b"content-range", b"bytes %d-%d/%d" % (start, end, size))]
    stream = call.services.blobs.stream(key, start, end + 1)
    return Answer(206, headers=headers, stream=stream, length=end + 1 - start)


def _named(call: Call, deployment_id: str, kind: str, key: str) -> tuple[str, bytes]:
    """File name and type, by generation."""
    if kind == "output" and call.generation.newest:
        return f"{deployment_id}-output-{key.rpartition('/')[2]}", b"application/octet-stream"
    return f"{deployment_id}-{kind}.tar.gz", b"application/gzip"
