"""The parts of a proof: an event as stored, the number of its leaf, and nodes of the seal's tree."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from annals.store.content.blobs import Blobs
from annals.store.log.archives import Archives
from annals.store.log.stored_row import StoredRow, row_to_compare
from annals.store.postgres.database import Database
from annals.store.tree import merkle
from annals.store.tree.merkle import HASH_BYTES, Lookup, TreeNode, fold
from annals.store.tree.tiles import HEIGHT, QUERIES, WIDTH, NodesMissing, TileIndex, leaves

T = TypeVar("T")

ArchivedHashes = Callable[[int], Awaitable[bytes]]
"""Returns the hashes of an archived tile of leaves by its index. Raises NodesMissing."""


class Proofs:
    """Reads events and leaves, archived ones included."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._archives = Archives(database, blobs)
        self.nodes = Nodes(database, self._archives.leaf_hashes)

    async def row(self, position: int) -> StoredRow | None:
        """Return the event at a position, or None. Raises ArchiveDamaged, BlobError."""
        row = await self._database.row(QUERIES["row"], {"position": position})
        if row is not None:
            return row_to_compare(row)
        found = await self._archives.after(position - 1, 1, until=position)
        return found[0] if found else None

    async def leaf(self, position: int) -> int | None:
        """Return the number of a position's leaf, None if it is not sealed. Raises ArchiveDamaged, BlobError."""
        row = await self._database.row(QUERIES["leaf_tile"], {"position": position})
        if row is None:
            return await self._archived_leaf(position)
        tile = leaves(row)
        if position not in tile.positions:
            return None
        return tile.number * WIDTH + tile.positions.index(position)

    async def _archived_leaf(self, position: int) -> int | None:
        for segment in await self._archives.segments():
            if segment.first_position <= position <= segment.last_position:
                for number, row in enumerate(await self._archives.rows(segment)):
                    if row.position == position:
                        return segment.first_leaf + number
        return None


class Nodes:
    """Reads nodes from few tiles, at any size of the tree; `archived` reads the tiles that left Postgres."""

    def __init__(self, database: Database, archived: ArchivedHashes) -> None:
        self._database, self._archived = database, archived

    async def root(self, size: int) -> bytes:
        """Return the root of the first `size` leaves. Raises NodesMissing if there are fewer."""
        return await self._with_nodes(lambda look_up: merkle.root_of(size, look_up))

    async def inclusion(self, leaf: int, size: int) -> list[bytes]:
        """Return the inclusion proof of a leaf. Raises NodesMissing, ValueError."""
        return await self._with_nodes(lambda look_up: merkle.inclusion_proof(leaf, size, look_up))

    async def consistency(self, former: int, size: int) -> list[bytes]:
        """Return the consistency proof of two sizes. Raises NodesMissing, ValueError."""
        return await self._with_nodes(lambda look_up: merkle.consistency_proof(former, size, look_up))

    async def some(self, nodes: Sequence[TreeNode]) -> list[bytes]:
        """Return the hashes of some nodes, in order. Raises NodesMissing."""
        return await self._with_nodes(lambda look_up: [look_up(node) for node in nodes])

    async def _with_nodes(self, work: Callable[[Lookup], T]) -> T:
        """Run `work` once to collect the nodes that it looks up, read them at once, and run it again with them."""
        wanted: list[TreeNode] = []

        def note(node: TreeNode) -> bytes:
            wanted.append(node)
            return bytes(HASH_BYTES)

        work(note)
        found = await self._read(wanted)
        return work(found.__getitem__)

    async def _read(self, nodes: Iterable[TreeNode]) -> Mapping[TreeNode, bytes]:
        tile_of = {node: _tile_index(node) for node in nodes}
        distinct = sorted(set(tile_of.values()))
        rows = await self._database.rows(
            QUERIES["tiles"], {"levels": [p.level for p in distinct], "indexes": [p.number for p in distinct]}
        )
        tiles = {TileIndex(row["level"], row["index"]): bytes(row["hashes"]) for row in rows}
        for index in distinct:
            if index not in tiles:
                if index.level:
                    raise NodesMissing(f"The seal has no tile {index.number} of level {index.level}")
                tiles[index] = await self._archived(index.number)
        return {node: _node(node, tiles[index]) for node, index in tile_of.items()}


def _tile_index(node: TreeNode) -> TileIndex:
    return TileIndex(node.level // HEIGHT, node.number << node.level % HEIGHT >> HEIGHT)


def _node(node: TreeNode, tile: bytes) -> bytes:
    height = node.level % HEIGHT
    start = (node.number << height) % WIDTH * HASH_BYTES
    hashes = tile[start : start + (HASH_BYTES << height)]
    if len(hashes) != HASH_BYTES << height:
        raise NodesMissing(f"The seal does not reach to node {node.number} of level {node.level}")
    return fold(hashes)
