"""Contents: bodies, logs and other bytes that events name by digest and length; and the keys of all blobs.

A small content is a row of the append's transaction. A large one is a blob, written before the append begins. A blob
whose append never committed is an orphan: blob garbage collection removes it.
"""

import hashlib
import secrets
import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from annals.store.content.blobs import Blob, BlobMissing, Blobs
from annals.store.content.digest_checks import checked
from annals.store.errors import ContentMissing
from annals.store.ids import generate_id
from annals.store.postgres import sql
from annals.store.postgres.connection import Step
from annals.store.postgres.database import Database, Row

QUERIES = sql.load(__package__, "contents.sql")

ROW_LIMIT = 32 * 1024
"""The largest number of bytes of a content in a row."""

PREFIX = "contents"
"""The prefix of the blobs of contents; a blob below it without a row is an orphan."""

SOURCES, ARTEFACTS, UPLOADS = "sources", "artefacts", "uploads"
"""The prefixes of the blobs of deployments."""


def contents_prefix(project_id: str) -> str:
    """Return the prefix of the blobs of a project's contents."""
    return f"{PREFIX}/{project_id}"


def deployment_prefix(kind: str, project_id: str, deployment_id: str) -> str:
    """Return the prefix of a deployment's blobs of a kind."""
    return f"{kind}/{project_id}/{deployment_id}"


def source_key(project_id: str, deployment_id: str) -> str:
    """Return a new key for a source: a late or failed attempt overwrites no other one."""
    return f"{deployment_prefix(SOURCES, project_id, deployment_id)}/{generate_id()}/code.tar.gz"


def artefact_key(project_id: str, deployment_id: str, epoch: int) -> str:
    """Return a new key for the artefact of a build."""
    return f"{deployment_prefix(ARTEFACTS, project_id, deployment_id)}/{epoch}-{secrets.token_hex(4)}/code.tar.gz"


def digest(data: bytes) -> str:
    """Return the digest that an event records of a content: the SHA-256 in hex, empty for no bytes."""
    return hashlib.sha256(data).hexdigest() if data else ""


class ContentRow(NamedTuple):
    """A content to store in the same transaction: its bytes, or the key of the blob that holds them."""

    stream: str
    version: int
    kind: str
    digest: str
    size: int
    data: bytes | None
    blob: str | None


class SealingKey(NamedTuple):
    """A project, and the id of the data key that sealed one of its values."""

    project_id: str
    key_id: str


class Content(NamedTuple):
    """Bytes to store with an append, under `version`, or the version of the stream's last event in the append.

    Empty bytes are not stored: the event records the length. A `Blob` is stored already. `key_id` is the id of the data
    key that sealed the bytes, empty for plain bytes.
    """

    stream: str
    kind: str
    data: bytes | Blob
    version: int | None = None
    key_id: str = ""

    @property
    def digest(self) -> str:
        return self.data.digest if isinstance(self.data, Blob) else digest(self.data)

    @property
    def size(self) -> int:
        return self.data.size if isinstance(self.data, Blob) else len(self.data)


class PreparedContent(NamedTuple):
    """A content whose blob is written, if it needs one."""

    content: Content
    blob: str | None

    def row(self, versions: Mapping[str, int]) -> ContentRow:
        """Return the row; `versions` are the last versions of the append's events, by stream."""
        content = self.content
        version = versions[content.stream] if content.version is None else content.version
        data = content.data if isinstance(content.data, bytes) and self.blob is None else None
        return ContentRow(content.stream, version, content.kind, content.digest, content.size, data, self.blob)


class Stored(NamedTuple):
    """A stored content without its bytes."""

    stream: str
    version: int
    kind: str
    digest: str
    size: int


def newest(streams: Sequence[str], kind: str) -> Step:
    """Return the pipeline step that reads the newest content of a kind of each stream."""
    return QUERIES["newest"], {"streams": list(streams), "kind": kind}


class Contents:
    """Contents in the database and the blob store."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database, self.blobs = database, blobs

    async def prepare(self, contents: Sequence[Content]) -> list[PreparedContent]:
        """Write the blobs of large contents. Raises BlobError; blob garbage collection removes the other blobs then."""
        prepared = []
        for content in contents:
            if isinstance(content.data, Blob):
                prepared.append(PreparedContent(content, content.data.key))
            elif content.data:
                large = len(content.data) > ROW_LIMIT
                blob = f"{contents_prefix(_project(content.stream))}/{uuid.uuid4().hex}" if large else None
                if blob is not None:
                    await self.blobs.put(blob, content.data)
                prepared.append(PreparedContent(content, blob))
        return prepared

    async def put(self, content: Content, version: int) -> None:
        """Store or replace a content outside an append, such as the log of a running build."""
        for prepared in await self.prepare([content]):
            row = prepared.row({content.stream: version})
            former = await self._database.row(QUERIES["blob_of"], row._asdict())
            await self._database.execute(QUERIES["put"], row._asdict())
            if former is not None and former["blob"]:
                await self.blobs.delete(former["blob"])

    async def find(self, stream: str, kind: str, *, version: int | None = None, since: int = 0) -> Stored | None:
        """Return the newest content of a kind in a stream, of one `version` or not older than `since`, or None."""
        row = await self._row("find", stream, kind, version, since)
        return None if row is None else Stored(**row)

    async def read(self, stream: str, kind: str, *, version: int | None = None, since: int = 0) -> bytes:
        """Return the bytes of the newest content of a kind in a stream, of one `version` or not older than `since`.

        Raises ContentMissing if it is not stored, ContentDamaged if its bytes do not have the recorded digest.
        """
        row = await self._row("read", stream, kind, version, since)
        if row is None:
            raise ContentMissing
        return await self.opened(row, stream, kind)

    async def opened(self, row: Row, stream: str, kind: str) -> bytes:
        """Return the bytes of a row of `newest`. Raises ContentDamaged, ContentMissing, BlobError."""
        data = row["data"]
        if data is None:
            try:
                data = await self.blobs.get(row["blob"])
            except BlobMissing as error:
                raise ContentMissing from error
        return checked(bytes(data), row["digest"], f"The {kind} of {stream}")

    async def drop(self, streams: Sequence[str]) -> int:
        """Remove all contents of some streams and return their number."""
        rows = await self._database.rows(QUERIES["drop"], {"streams": list(streams)})
        await self.blobs.delete(*[row["blob"] for row in rows if row["blob"]])
        return len(rows)

    async def known(self, blobs: Sequence[str]) -> set[str]:
        """Return those of some blobs that a row names."""
        rows = await self._database.rows(QUERIES["known"], {"blobs": list(blobs)})
        return {row["blob"] for row in rows}

    async def _row(self, query: str, stream: str, kind: str, version: int | None, since: int) -> Row | None:
        return await self._database.row(
            QUERIES[query], {"stream": stream, "kind": kind, "version": version, "since": since}
        )


def _project(stream: str) -> str:
    return stream.split(":")[1]


def sealed_by(contents: Sequence[PreparedContent]) -> set[SealingKey]:
    """Return the data keys that sealed some contents."""
    return {SealingKey(_project(one.content.stream), one.content.key_id) for one in contents if one.content.key_id}
