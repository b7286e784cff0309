"""The input of a verification: the stored tiles of leaves and the rows of the log, in order."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from psycopg.rows import tuple_row

from annals.store.log.archives import Archives
from annals.store.log.compact_states import plain_or_altered
from annals.store.log.stored_row import StoredRow, as_leaf, from_leaf
from annals.store.postgres.database import Connection, Database
from annals.store.tree.merkle import HASH_BYTES, leaf_hash
from annals.store.tree.tiles import QUERIES, WIDTH, Leaves, leaves

TILES = 32
PAGE = 4096
NO_LEAF = bytes(HASH_BYTES)
"""The hash of a row with values that no append writes: no leaf has it."""


class SourceTile(NamedTuple):
    """A tile of leaves; `archived` if its hashes were just made from an archive's events."""

    leaves: Leaves
    archived: bool
    rows: Sequence[StoredRow] = ()


async def tiles(database: Database, archives: Archives, start: int = 0) -> AsyncIterator[SourceTile]:
    """Yield all tiles from one on, archived ones first; a missing tile is empty. Raises ArchiveDamaged."""
    for segment in await archives.segments():
        if segment.end_leaf > start * WIDTH:
            rows = await archives.rows(segment)
            for at in range(max(0, start * WIDTH - segment.first_leaf), len(rows), WIDTH):
                some = rows[at : at + WIDTH]
                hashes = b"".join([leaf_hash(as_leaf(row)) for row in some])
                index = (segment.first_leaf + at) // WIDTH
                yield SourceTile(Leaves(index, hashes, [row.position for row in some]), archived=True, rows=some)
            start = segment.end_leaf // WIDTH
    while found := await database.rows(QUERIES["leaves"], {"from": start, "limit": TILES}):
        for tile in map(leaves, found):
            for missing in range(start, tile.number):
                yield SourceTile(Leaves(missing, b"", ()), archived=False)
            yield SourceTile(tile, archived=False)
            start = tile.number + 1


class LogLeaves:
    """Reads the rows of the log's table as leaves, one page ahead."""

    def __init__(self, conn: Connection, after: int) -> None:
        self._conn, self._after = conn, after
        self._following: asyncio.Task[list[Any]] | None = None
        self.positions: list[int] = []
        self.hashes: list[bytes] = []
        self.at = 0
        self.ended = False
        self._leaves: list[bytes] = []

    def row(self, at: int) -> StoredRow:
        """Return one of the loaded rows."""
        return from_leaf(self._leaves[at][1:])._replace(position=self.positions[at])

    async def need(self, count: int, last: int) -> None:
        """Load `count` rows, and all rows up to a position, if the log has them."""
        while not self.ended and (len(self.hashes) - self.at < count or self.positions[-1] < last):
            await self._more()

    async def close(self) -> None:
        if self._following is not None:
            await asyncio.gather(self._following, return_exceptions=True)

    async def _more(self) -> None:
        rows = await (self._following or self._page(self._after))
        self._following = None
        if not rows:
            self.ended = True
            return
        self._after = rows[-1][0]
        self._following = asyncio.create_task(self._page(self._after))
        await asyncio.sleep(0)  # the next page loads while this one is hashed
        leaves = [_leaf(head, names, state) for _, head, names, state, _ in rows]
        del self.positions[: self.at], self.hashes[: self.at], self._leaves[: self.at]
        self.at = 0
        self.positions += [row[0] for row in rows]
        sha256 = hashlib.sha256
        self.hashes += [
            sha256(leaf).digest() if as_appended else NO_LEAF
            for leaf, (*_, as_appended) in zip(leaves, rows, strict=True)
        ]
        self._leaves += leaves

    async def _page(self, after: int) -> list[Any]:
        async with self._conn.cursor(row_factory=tuple_row, binary=True) as cursor:
            await cursor.execute(QUERIES["leaves_of_log"], (after, PAGE), prepare=True)
            return await cursor.fetchall()


def _leaf(head: bytes, names: bytes, state: bytes) -> bytes:
    if not state.startswith(b"{"):
        state = plain_or_altered(state)
    return b"%b%b%b%b" % (head, len(state).to_bytes(4), names, state)
