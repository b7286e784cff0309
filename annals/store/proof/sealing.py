"""Sealing: a follower hashes every stored event into the tree, and the sealer signs the tree's root."""

from datetime import UTC, datetime

import structlog

from annals.store.log.reader import EventBatch
from annals.store.log.stored_row import as_leaf, stored_row
from annals.store.postgres.database import Connection, Database
from annals.store.proof.destinations import Destinations, Outside
from annals.store.proof.notes import Checkpoint, NoteInvalid, Signer, text_of
from annals.store.proof.proofs import Nodes
from annals.store.tree.merkle import leaf_hash
from annals.store.tree.tiles import QUERIES, WIDTH, NodesMissing, TileTree, leaves

FOLLOWER, SIGNING = "seal", "checkpoint"
_BATCH = 100

log = structlog.get_logger(__name__)


class SealDiverged(Exception):
    """The tree does not continue the one that was signed before: it must not be signed."""


async def seal(conn: Connection, batch: EventBatch) -> None:
    """Seal a batch, as a follower's handler. It takes the stored rows: a decoded event may encode differently."""
    tree = await TileTree.read(conn)
    for row in batch.rows:
        stored = stored_row(row)
        if stored.position > tree.position:
            tree.append(leaf_hash(as_leaf(stored)), stored.position)
    await tree.write(conn)


class Sealer:
    """Signs checkpoints, one at a time, in the keeper or for a command."""

    def __init__(self, database: Database, nodes: Nodes, signer: Signer, destinations: Destinations) -> None:
        self._database, self._nodes, self._signer, self._destinations = database, nodes, signer, destinations
        self._last: Checkpoint | None = None

    async def sign(self) -> Checkpoint | None:
        """Sign the tree if it has grown, write checkpoints outside, and return the newest; None for an empty tree.

        Raises SealDiverged if the tree does not continue the last signed one, NoteInvalid if the outside checkpoint is
        not of this log, BlobError if a destination failed: the next call tries again.
        """
        async with self._database.transaction() as conn:
            tree = await TileTree.read(conn)
        if tree.size:
            await self._require_continuation(tree)
            if self._last is None or tree.size > self._last.size:
                made = Checkpoint(self._signer.name, tree.size, tree.root(), tree.position, datetime.now(UTC))
                row = {**made._asdict(), "note": self._signer.sign(made)}
                await self._database.execute(QUERIES["add_checkpoint"], row)
                self._last = made
        await self._write_outside()
        return self._last

    async def _require_continuation(self, tree: TileTree) -> None:
        if self._last is None:
            self._last = await self._last_signed()
        if self._last is None:
            return
        try:
            root = await self._nodes.root(self._last.size)
        except NodesMissing as error:
            raise SealDiverged(
                f"Position {self._last.position} was sealed as the log's event number {self._last.size}, "
                f"and now there are {tree.size}. Run `annals verify`."
            ) from error
        if root != self._last.root:
            raise SealDiverged(
                f"The first {self._last.size} sealed events, up to position {self._last.position}, are not those that "
                "were signed. Run `annals verify`."
            )

    async def _last_signed(self) -> Checkpoint | None:
        """Return the newest checkpoint of this log's key, outside or in Postgres."""
        outside: Outside | None = await self._destinations.latest(self._signer.verifier)
        row = await self._database.row(QUERIES["newest_checkpoint"], {"size": None})
        found = [] if outside is None else [outside.checkpoint]
        if row is not None:
            try:
                found.append(self._signer.verifier.open(row["note"]))
            except NoteInvalid:  # of the instance that this one was restored from
                log.info("checkpoint_of_another_key", size=row["size"])
        return max(found, key=lambda checkpoint: checkpoint.size, default=None)

    async def _write_outside(self) -> None:
        while rows := await self._database.rows(QUERIES["inside_checkpoints"], {"limit": _BATCH}):
            await self._copy_leaves(rows[-1]["size"])
            for row in rows:
                await self._destinations.put(Checkpoint.parse(text_of(row["note"])), row["note"])
            await self._database.execute(QUERIES["went_outside"], {"sizes": [row["size"] for row in rows]})

    async def _copy_leaves(self, size: int) -> None:
        """Copy the tiles that have grown: a checkpoint is written after its leaves."""
        index = int(await self._database.value(QUERIES["outside_size"]) or 0) // WIDTH
        while index * WIDTH < size:
            rows = await self._database.rows(QUERIES["leaves"], {"from": index, "limit": _BATCH})
            for row in rows:
                await self._destinations.put_leaves(leaves(row))
            if not rows:
                return
            index = rows[-1]["index"] + 1


async def note_signing(database: Database, position: int | None, error: str) -> None:
    """Note beside the followers the signed position (None: unchanged) and the error that stops signing."""
    await database.execute(QUERIES["note_signing"], {"name": SIGNING, "position": position, "error": error[:2000]})
