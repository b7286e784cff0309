"""Contents: bodies, logs and other bytes that events only name by digest and length.

Small ones are rows of the append's own transaction; larger ones are blobs, on disk before the append begins. A blob
whose append never committed is an orphan, which the sweeper removes.
"""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from annals.store.content.blobs import Blob, BlobMissing, Blobs
from annals.store.content.checked import checked
from annals.store.errors import ContentMissing
from annals.store.log.request import ContentRow, SealingKey
from annals.store.postgres import sql
from annals.store.postgres.connection import Step
from annals.store.postgres.database import Database, Row

QUERIES = sql.load(__package__, "contents.sql")

ROW_LIMIT = 32 * 1024
"""Most bytes of a content that lie in a row."""

PREFIX = "contents"
"""Where blobs of contents lie in the store; whatever is there without a row is an orphan."""


def place(project_id: str) -> str:
    """Below which key a project's contents lie."""
    return f"{PREFIX}/{project_id}"


def digest(data: bytes) -> str:
    """What an event says of a content: the SHA-256 in hex, empty for no bytes."""
    return hashlib.sha256(data).hexdigest() if data else ""


class Content(NamedTuple):
    """Bytes to keep with an append, under the version of the stream's last event in it unless a version is given.

    Empty bytes are not kept: the event's length says all. A blob is one that lies in the store already. `key_id` is
    that of the data key which sealed the bytes, empty for bytes in clear.
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
    """A content that is ready to be appended, its blob written."""

    content: Content
    blob: str | None

    def row(self, versions: Mapping[str, int]) -> ContentRow:
        """The row, with the versions of this append's events by stream."""
        content = self.content
        version = versions[content.stream] if content.version is None else content.version
        data = content.data if isinstance(content.data, bytes) and self.blob is None else None
        return ContentRow(content.stream, version, content.kind, content.digest, content.size, data, self.blob)


class Stored(NamedTuple):
    """What is known of a kept content without reading it."""

    stream: str
    version: int
    kind: str
    digest: str
    size: int


def newest(streams: Sequence[str], kind: str) -> Step:
    """What reads the newest content of a kind of each stream, for who reads more in the same trip."""
    return QUERIES["newest"], {"streams": list(streams), "kind": kind}


class Contents:
    """Contents in the database and the blob store."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database, self.blobs = database, blobs

    async def prepare(self, contents: Sequence[Content]) -> list[PreparedContent]:
        """Write the blobs of large contents. Raises BlobError; what was written before is left to the sweeper."""
        prepared = []
        for content in contents:
            if isinstance(content.data, Blob):
                prepared.append(PreparedContent(content, content.data.key))
            elif content.data:
                large = len(content.data) > ROW_LIMIT
                blob = f"{place(_project(content.stream))}/{uuid.uuid4().hex}" if large else None
                if blob is not None:
                    await self.blobs.put(blob, content.data)
                prepared.append(PreparedContent(content, blob))
        return prepared

    async def put(self, content: Content, version: int) -> None:
        """Keep or replace a content outside any append, such as the log of a build that still runs."""
        for prepared in await self.prepare([content]):
            row = prepared.row({content.stream: version})
            former = await self._database.row(QUERIES["blob_of"], row._asdict())
            await self._database.execute(QUERIES["put"], row._asdict())
            if former is not None and former["blob"]:
                await self.blobs.delete(former["blob"])

    async def find(self, stream: str, kind: str, *, version: int | None = None, since: int = 0) -> Stored | None:
        """The newest content of a kind in a stream (of one `version`, or none older than `since`), if it is kept."""
        row = await self._row("find", stream, kind, version, since)
        return None if row is None else Stored(**row)

    async def read(self, stream: str, kind: str, *, version: int | None = None, since: int = 0) -> bytes:
        """The newest content of a kind in a stream (of one `version`, or none older than `since`).

        Raises ContentMissing when it is not kept (any more), ContentDamaged when its bytes are not those recorded.
        """
        row = await self._row("read", stream, kind, version, since)
        if row is None:
            raise ContentMissing
        return await self.opened(row, stream, kind)

    async def opened(self, row: Row, stream: str, kind: str) -> bytes:
        """The bytes of a row of `newest`. Raises ContentDamaged, ContentMissing, BlobError."""
        data = row["data"]
        if data is None:
            try:
                data = await self.blobs.get(row["blob"])
            except BlobMissing as error:
                raise ContentMissing from error
        return checked(bytes(data), row["digest"], f"The {kind} of {stream}")

    async def drop(self, streams: Sequence[str]) -> int:
        """Remove all contents of some streams, as retention does, and return how many there were."""
        rows = await self._database.rows(QUERIES["drop"], {"streams": list(streams)})
        await self.blobs.delete(*[row["blob"] for row in rows if row["blob"]])
        return len(rows)

    async def known(self, blobs: Sequence[str]) -> set[str]:
        """Which of these blobs a row still names: what the sweeper must keep."""
        rows = await self._database.rows(QUERIES["known"], {"blobs": list(blobs)})
        return {row["blob"] for row in rows}

    async def _row(self, query: str, stream: str, kind: str, version: int | None, since: int) -> Row | None:
        return await self._database.row(
            QUERIES[query], {"stream": stream, "kind": kind, "version": version, "since": since}
        )


def _project(stream: str) -> str:
    return stream.split(":")[1]


def sealed_by(contents: Sequence[PreparedContent]) -> set[SealingKey]:
    """The data keys that sealed some contents."""
    return {SealingKey(_project(one.content.stream), one.content.key_id) for one in contents if one.content.key_id}
