"""What proofs are made from: an event as stored, the number of its leaf, and the tree's nodes."""

from annals.store.log.archives import Archives
from annals.store.postgres.database import Database
from annals.store.proof.leaf import StoredRow, row_to_compare
from annals.store.proof.nodes import Nodes
from annals.store.proof.tiles import QUERIES, WIDTH, leaves


class Proofs:
    """Reads archives where an event or its leaf lies there."""

    def __init__(self, database: Database, archives: Archives) -> None:
        self._database, self._archives = database, archives
        self.nodes = Nodes(database, archives.leaf_hashes)

    async def row(self, position: int) -> StoredRow | None:
        """The event at a position, as it was sealed. Raises ArchiveDamaged, BlobError."""
        row = await self._database.row(QUERIES["row"], {"position": position})
        if row is not None:
            return row_to_compare(row)
        found = await self._archives.after(position - 1, 1, until=position)
        return found[0] if found else None

    async def leaf(self, position: int) -> int | None:
        """The number of a position's leaf, None where it is not sealed. Raises ArchiveDamaged, BlobError."""
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
