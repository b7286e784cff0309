"""Nodes of the seal's tree, read for roots and proofs: few tiles each, whatever the tree's size."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from annals.store.postgres.database import Database
from annals.store.proof import merkle
from annals.store.proof.merkle import HASH_BYTES, Lookup, TreeNode, fold
from annals.store.proof.tiles import HEIGHT, QUERIES, WIDTH, TileIndex

T = TypeVar("T")

Missing = Callable[[int], Awaitable[bytes]]
"""Gives the leaves' hashes of a tile that is no longer in Postgres, by its index. Raises NodesMissing."""


class NodesMissing(Exception):
    """The tree has no such nodes (any more): it is smaller, or somebody removed them."""


class Nodes:
    """Reads by way of `archived` what moved out of Postgres."""

    def __init__(self, database: Database, archived: Missing) -> None:
        self._database, self._archived = database, archived

    async def root(self, size: int) -> bytes:
        """The root of the first `size` leaves. Raises NodesMissing when there are not as many."""
        return await self._with_nodes(lambda look_up: merkle.root_of(size, look_up))

    async def inclusion(self, leaf: int, size: int) -> list[bytes]:
        """Raises NodesMissing, ValueError."""
        return await self._with_nodes(lambda look_up: merkle.inclusion_proof(leaf, size, look_up))

    async def consistency(self, former: int, size: int) -> list[bytes]:
        """Raises NodesMissing, ValueError."""
        return await self._with_nodes(lambda look_up: merkle.consistency_proof(former, size, look_up))

    async def some(self, nodes: Sequence[TreeNode]) -> list[bytes]:
        """The hashes of some nodes, in order. Raises NodesMissing."""
        return await self._with_nodes(lambda look_up: [look_up(node) for node in nodes])

    async def _with_nodes(self, work: Callable[[Lookup], T]) -> T:
        """Ask `work` which nodes it wants, read them all at once, and let it work."""
        wanted: list[TreeNode] = []

        def note(node: TreeNode) -> bytes:
            wanted.append(node)
            return bytes(HASH_BYTES)

        work(note)
        found = await self._read(wanted)
        return work(found.__getitem__)

    async def _read(self, nodes: Iterable[TreeNode]) -> Mapping[TreeNode, bytes]:
        places = {node: _place(node) for node in nodes}
        distinct = sorted(set(places.values()))
        rows = await self._database.rows(
            QUERIES["tiles"], {"levels": [p.level for p in distinct], "indexes": [p.number for p in distinct]}
        )
        tiles = {TileIndex(row["level"], row["index"]): bytes(row["hashes"]) for row in rows}
        for place in distinct:
            if place not in tiles:
                if place.level:
                    raise NodesMissing(f"The seal has no tile {place.number} of level {place.level}")
                tiles[place] = await self._archived(place.number)
        return {node: _node(node, tiles[place]) for node, place in places.items()}


def _place(node: TreeNode) -> TileIndex:
    return TileIndex(node.level // HEIGHT, node.number << node.level % HEIGHT >> HEIGHT)


def _node(node: TreeNode, tile: bytes) -> bytes:
    height = node.level % HEIGHT
    start = (node.number << height) % WIDTH * HASH_BYTES
    hashes = tile[start : start + (HASH_BYTES << height)]
    if len(hashes) != HASH_BYTES << height:
        raise NodesMissing(f"The seal does not reach to node {node.number} of level {node.level}")
    return fold(hashes)
