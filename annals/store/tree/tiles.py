"""The seal's tree in Postgres: tiles of 256 hashes as in transparency logs, at most 40 bytes an event."""

import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from annals.store.postgres import sql
from annals.store.postgres.database import Connection
from annals.store.tree.merkle import EMPTY_ROOT, HASH_BYTES, LeafRange, cover, fold, join

QUERIES = sql.load(__package__, "seal.sql")

HEIGHT = 8
"""The number of the tree's levels in one tile."""

WIDTH = 1 << HEIGHT
FULL = WIDTH * HASH_BYTES
_COPY = struct.Struct(">QI")


class NodesMissing(Exception):
    """The tree does not have these nodes: it is smaller, or they were removed."""


class TileIndex(NamedTuple):
    """The tile of tree level 8·`level` that begins with node 256·`number`."""

    level: int
    number: int


class Leaves(NamedTuple):
    """A tile of leaves, full or growing."""

    number: int
    hashes: bytes
    positions: Sequence[int]


def leaves(row: dict[str, Any]) -> Leaves:
    """Return the tile of leaves of a row."""
    hashes = bytes(row["hashes"])
    return Leaves(row["index"], hashes, _positions(row["first_position"], bytes(row["offsets"]), len(hashes)))


def to_bytes(tile: Leaves) -> bytes:
    """Return the bytes of a tile's copy outside: first position, number of offsets, offsets, hashes."""
    offsets = _offsets(tile.positions)
    return _COPY.pack(tile.positions[0], len(offsets)) + offsets + tile.hashes


def from_bytes(index: int, data: bytes) -> Leaves:
    """Return the tile of a copy. Invalid bytes give a tile that matches no other one."""
    if len(data) < _COPY.size:
        return Leaves(index, b"", ())
    first, length = _COPY.unpack_from(data)
    offsets, hashes = data[_COPY.size :][:length], data[_COPY.size + length :]
    return Leaves(index, hashes, _positions(first, offsets[: len(offsets) & ~3], len(hashes)))


def _positions(first: int, offsets: bytes, hashes: int) -> Sequence[int]:
    if not offsets:
        return range(first, first + hashes // HASH_BYTES)
    return [first, *(first + distance for distance in struct.unpack(f">{len(offsets) // 4}I", offsets))]


class TileTree:
    """The growing edge of the tree, in one transaction."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self._edge: dict[int, tuple[int, bytearray]] = {}
        self._positions: list[int] = []
        for row in rows:
            self._edge[row["level"]] = (row["index"], bytearray(row["hashes"]))
            if row["level"] == 0:
                self._positions = [*leaves(row).positions]
        self.position = self._positions[-1] if self._positions else 0
        self._changed: dict[TileIndex, bytearray] = {}
        self._positions_of: dict[int, list[int]] = {}

    @classmethod
    async def read(cls, conn: Connection) -> "TileTree":
        return cls(await (await conn.execute(QUERIES["frontier"], binary=True)).fetchall())

    @property
    def size(self) -> int:
        if 0 not in self._edge:
            return 0
        index, hashes = self._edge[0]
        return index * WIDTH + len(hashes) // HASH_BYTES

    def append(self, leaf: bytes, position: int) -> None:
        """Seal the next event. Raises ValueError for a position that does not follow the last one."""
        if position <= self.position:
            raise ValueError(f"Position {position} is sealed already; the last was {self.position}")
        if len(self._positions) == WIDTH:
            self._positions = []
        self._positions.append(position)
        self.position = position
        self._positions_of[self._add(0, leaf)] = self._positions

    def root(self) -> bytes:
        """Return the root over all leaves. A full tile counts as its one hash on the level above."""
        parts = [
            fold(bytes(hashes[start : start + (HASH_BYTES << node.level)]))
            for _, (_, hashes) in sorted(self._edge.items(), reverse=True)
            if len(hashes) < FULL
            for node in cover(LeafRange(0, len(hashes) // HASH_BYTES))
            for start in (node.number * HASH_BYTES << node.level,)
        ]
        return join(parts) if parts else EMPTY_ROOT

    async def write(self, conn: Connection) -> None:
        """Write the changed tiles."""
        for (level, index), hashes in self._changed.items():
            row = {"level": level, "index": index, "hashes": bytes(hashes), "first_position": None, "offsets": None}
            if level == 0:
                positions = self._positions_of[index]
                row |= {"first_position": positions[0], "offsets": _offsets(positions)}
            await conn.execute(QUERIES["put_tile"], row)

    def _add(self, level: int, node: bytes) -> int:
        index, hashes = self._edge.get(level, (-1, bytearray(FULL)))
        if len(hashes) == FULL:
            index, hashes = index + 1, bytearray()
            self._edge[level] = (index, hashes)
        hashes += node
        self._changed[TileIndex(level, index)] = hashes
        if len(hashes) == FULL:
            self._add(level + 1, fold(bytes(hashes)))
        return index


def _offsets(positions: Sequence[int]) -> bytes:
    first = positions[0]
    if positions[-1] - first == len(positions) - 1:
        return b""
    return struct.pack(f">{len(positions) - 1}I", *(position - first for position in positions[1:]))
