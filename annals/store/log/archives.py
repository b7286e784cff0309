"""Archives: old sealed events as compressed lines in the blob store, read back unchanged.

A segment has every event of its leaves. Only events of executions without a read model's row leave the log's table.
Reasons and costs: docs/adr/0012-log-archives.md.
"""

import asyncio
import bisect
import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

import structlog
import zstandard

from annals.store.content.blobs import BlobMissing, Blobs
from annals.store.errors import ContentDamaged
from annals.store.log.stored_row import LineInvalid, StoredRow, as_leaf, from_line, row_to_compare, to_line
from annals.store.postgres import sql
from annals.store.postgres.database import Database
from annals.store.tree.merkle import HASH_BYTES, Frontier, fold, leaf_hash
from annals.store.tree.tiles import FULL, HEIGHT, WIDTH, Leaves, NodesMissing, leaves
from annals.store.tree.tiles import QUERIES as SEAL

QUERIES = sql.load(__package__, "archives.sql")

FOLDER = "archive"
MOST_TILES = 64
LEAST_TILES = 16
"""The number of tiles of 256 events in a segment: fewer compress badly, more need much memory to read."""

STREAMS_BYTES = 64 * 1024 * 1024
"""The size of the segments' stream indexes that a process caches; it reads the others each time."""

_LEVEL = 15
_CACHED_SEGMENTS = 2

log = structlog.get_logger(__name__)


class ArchiveDamaged(ContentDamaged):
    """A segment is missing or does not have the events that were sealed."""


class Segment(NamedTuple):
    """One archive: `digest` is the SHA-256 of the blob's `size` bytes, `root` the tree's root over its leaves."""

    first_leaf: int
    end_leaf: int
    first_position: int
    last_position: int
    last_recorded_at: datetime
    blob: str
    digest: str
    size: int
    root: bytes


class Archives:
    """Reads segments and caches the last few."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database, self._blobs = database, blobs
        self._read: OrderedDict[str, Sequence[StoredRow]] = OrderedDict()
        self._streams: dict[str, array[int]] = {}
        self._streams_bytes = 0

    async def segments(self) -> list[Segment]:
        rows = await self._database.rows(QUERIES["segments"])
        return [Segment(**{**row, "root": bytes(row["root"])}) for row in rows]

    async def end(self) -> int:
        """Return the last archived position, 0 without archives."""
        return int(await self._database.value(QUERIES["archived"]))

    async def after(
        self, position: int, limit: int, *, project: str | None = None, until: int | None = None
    ) -> list[StoredRow]:
        """Return the next archived events after a position, of one segment; empty if no segment has any.

        Raises ArchiveDamaged, BlobError.
        """
        for segment in await self.segments():
            if segment.last_position > position and (until is None or segment.first_position <= until):
                found = [
                    row
                    for row in await self.rows(segment)
                    if row.position > position and (until is None or row.position <= until)
                    and (project is None or project_of(row.stream) == project)
                ]  # fmt: skip
                if found:
                    return found[:limit]
        return []

    async def of_streams(self, streams: Collection[str]) -> list[StoredRow]:
        """Return all archived events of some streams, by position. Raises ArchiveDamaged, BlobError."""
        wanted = [stream_hash(stream) for stream in streams]
        found: list[StoredRow] = []
        for segment in await self.segments():
            names = await self._names(segment)
            if any(_holds(names, name) for name in wanted):
                found += [row for row in await self.rows(segment) if row.stream in streams]
        return found

    async def _names(self, segment: Segment) -> "array[int]":
        """Return the hashes of a segment's streams, sorted; write their file again if it is missing or damaged."""
        if (kept := self._streams.get(segment.blob)) is None:
            try:
                kept = unpack_names(await self._blobs.get(_names_key(segment)))
            except BlobMissing:
                kept = None
            if kept is None:  # a missing name would hide history unnoticed
                kept = streams_of(await self.rows(segment))
                await self._blobs.put(_names_key(segment), pack_names(kept))
            size = len(kept) * kept.itemsize
            if self._streams_bytes + size <= STREAMS_BYTES:
                self._streams[segment.blob] = kept
                self._streams_bytes += size
        return kept

    async def stored_names(self, segment: Segment) -> bytes | None:
        """Return the stored hashes of a segment's streams, None if their file is missing or damaged.

        Raises BlobError.
        """
        try:
            names = unpack_names(await self._blobs.get(_names_key(segment)))
        except BlobMissing:
            return None
        return None if names is None else names.tobytes()

    async def rows(self, segment: Segment) -> Sequence[StoredRow]:
        """Return all events of a segment. Raises ArchiveDamaged, BlobError."""
        if (kept := self._read.get(segment.blob)) is None:
            try:
                packed = await self._blobs.get(segment.blob)
            except BlobMissing as error:
                raise ArchiveDamaged(f"The archive {segment.blob} is gone: {error}") from error
            kept = await asyncio.to_thread(unpack, packed, segment)
            self._read[segment.blob] = kept
            if len(self._read) > _CACHED_SEGMENTS:
                self._read.popitem(last=False)
        return kept

    async def leaf_hashes(self, tile: int) -> bytes:
        """Return the hashes of an archived tile of leaves. Raises NodesMissing, ArchiveDamaged."""
        for segment in await self.segments():
            if segment.first_leaf <= tile * WIDTH < segment.end_leaf:
                start = tile * WIDTH - segment.first_leaf
                rows = (await self.rows(segment))[start : start + WIDTH]
                return b"".join(leaf_hash(as_leaf(row)) for row in rows)
        raise NodesMissing(f"The seal has no tile {tile} of leaves")


class Archiver:
    """Moves old events into archives, a segment at a time."""

    def __init__(self, database: Database, blobs: Blobs, *, least_tiles: int = LEAST_TILES) -> None:
        self._database, self._blobs, self._least = database, blobs, least_tiles
        self._archives = Archives(database, blobs)

    async def run(self, before: datetime) -> list[Segment]:
        """Archive events from before a moment that an outside checkpoint covers. Raises ArchiveDamaged."""
        made: list[Segment] = []
        while (segment := await self._next(before)) is not None:
            made.append(segment)
        return made

    async def _next(self, before: datetime) -> Segment | None:
        last = int(await self._database.value(QUERIES["old_enough"], {"before": before}) or 0)
        segments = await self._archives.segments()
        start = segments[-1].end_leaf if segments else 0
        rows = await self._database.rows(QUERIES["next_tiles"], {"from": start // WIDTH, "limit": MOST_TILES})
        tiles = [tile for tile in map(leaves, rows) if len(tile.hashes) == FULL and tile.positions[-1] <= last]
        if len(tiles) < self._least:
            return None
        segment = await self._write(tiles)
        await self._switch(segment)
        log.info("log_archived", first=segment.first_position, last=segment.last_position, bytes=segment.size)
        return segment

    async def _write(self, tiles: Sequence[Leaves]) -> Segment:
        """Write a segment's blob and read it back: events are deleted only after their copy was checked."""
        first, last = tiles[0].positions[0], tiles[-1].positions[-1]
        found = await self._database.rows(SEAL["sealed"], {"position": first - 1, "until": last, "limit": None})
        rows = [row_to_compare(row) for row in found]
        packed = await asyncio.to_thread(pack, rows)
        first_leaf = tiles[0].number * WIDTH
        times = await self._database.row("SELECT recorded_at FROM events WHERE notification_id = %s", (last,))
        if times is None:
            raise ArchiveDamaged(f"Position {last} was sealed and is gone. Run `annals verify`.")
        segment = Segment(
            first_leaf,
            first_leaf + len(tiles) * WIDTH,
            first,
            last,
            times["recorded_at"],
            f"{FOLDER}/{first:020d}",
            hashlib.sha256(packed).hexdigest(),
            len(packed),
            _root([tile.hashes for tile in tiles]),
        )
        await asyncio.to_thread(unpack, packed, segment)
        await self._blobs.put(_names_key(segment), pack_names(streams_of(rows)))
        await self._blobs.put(segment.blob, packed)
        await asyncio.to_thread(unpack, await self._blobs.get(segment.blob), segment)
        return segment

    async def _switch(self, segment: Segment) -> None:
        """Name the segment and delete its events in one transaction, so that readers always see all events."""
        tiles = {"first": segment.first_leaf // WIDTH, "end": segment.end_leaf // WIDTH}
        async with self._database.transaction() as conn:
            await conn.execute(QUERIES["add_segment"], segment._asdict())
            await conn.execute(QUERIES["drop_events"], {"last": segment.last_position})
            await conn.execute(QUERIES["drop_leaves"], tiles)


def _holds(names: "array[int]", name: int) -> bool:
    at = bisect.bisect_left(names, name)
    return at < len(names) and names[at] == name


def project_of(stream: str) -> str:
    """Return the project of a stream, as the log's table generates it."""
    return [*stream.split(":", 2), ""][1]


def stream_hash(stream: str) -> int:
    return int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8])


def streams_of(rows: Sequence[StoredRow]) -> "array[int]":
    """Return the sorted 8-byte hashes of the streams of some events, which tell the segments to read."""
    return array("Q", sorted({stream_hash(row.stream) for row in rows}))


def _names_key(segment: Segment) -> str:
    return f"{segment.blob}.names"


def pack_names(names: "array[int]") -> bytes:
    """Return the hashes of streams after the SHA-256 of their bytes."""
    packed = names.tobytes()
    return hashlib.sha256(packed).digest() + packed


def unpack_names(packed: bytes) -> "array[int] | None":
    """Return the hashes of streams, None for damaged bytes."""
    known, names = packed[:HASH_BYTES], packed[HASH_BYTES:]
    return array("Q", names) if hashlib.sha256(names).digest() == known else None


def pack(rows: Sequence[StoredRow]) -> bytes:
    """Return events as compressed lines."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress(b"".join(to_line(row) + b"\n" for row in rows))


def unpack(packed: bytes, segment: Segment) -> Sequence[StoredRow]:
    """Return the events of a segment's bytes. Raises ArchiveDamaged if they are not the sealed events."""
    if hashlib.sha256(packed).hexdigest() != segment.digest:
        raise ArchiveDamaged(f"The archive {segment.blob} does not have the digest that was recorded for it.")
    try:
        lines = zstandard.ZstdDecompressor().decompress(packed).split(b"\n")[:-1]
        rows = [from_line(line) for line in lines]
    except (zstandard.ZstdError, LineInvalid) as error:
        raise ArchiveDamaged(f"The archive {segment.blob} cannot be read: {error}") from error
    hashes = b"".join([leaf_hash(as_leaf(row)) for row in rows])
    tiles = [hashes[at : at + FULL] for at in range(0, len(hashes), FULL)]
    if len(rows) != segment.end_leaf - segment.first_leaf or _root(tiles) != segment.root:
        raise ArchiveDamaged(f"The archive {segment.blob} does not hold the events that were sealed.")
    return rows


def _root(tiles: Sequence[bytes]) -> bytes:
    """Return the root of a tree over full tiles."""
    frontier = Frontier()
    for hashes in tiles:
        if len(hashes) != WIDTH * HASH_BYTES:
            return b""
        frontier.append(fold(hashes), HEIGHT)
    return frontier.root()
