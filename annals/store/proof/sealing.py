"""Sealing: a follower hashes every stored event into the tree, and a duty signs what the tree has come to."""

from datetime import UTC, datetime

import structlog

from annals.store.log.reader import EventBatch
from annals.store.postgres.database import Connection, Database
from annals.store.proof.destinations import Destinations, Outside
from annals.store.proof.leaf import as_leaf, stored_row
from annals.store.proof.merkle import leaf_hash
from annals.store.proof.nodes import Nodes, NodesMissing
from annals.store.proof.notes import Checkpoint, NoteInvalid, Signer, text_of
from annals.store.proof.tiles import QUERIES, WIDTH, TileTree, leaves

FOLLOWER, SIGNING = "seal", "checkpoint"
_BATCH = 100

log = structlog.get_logger(__name__)


class SealDiverged(Exception):
    """The tree is not a continuation of what was signed before: nothing may be signed over it."""


async def seal(conn: Connection, batch: EventBatch) -> None:
    """A follower's handler over rows as stored: what was decoded and encoded again might differ in a byte."""
    tree = await TileTree.read(conn)
    for row in batch.rows:
        stored = stored_row(row)
        if stored.position > tree.position:
            tree.append(leaf_hash(as_leaf(stored)), stored.position)
    await tree.write(conn)


class Sealer:
    """Signs checkpoints; one at a time, in the keeper or for a command."""

    def __init__(self, database: Database, nodes: Nodes, signer: Signer, places: Destinations) -> None:
        self._database, self._nodes, self._signer, self._places = database, nodes, signer, places
        self._last: Checkpoint | None = None

    async def sign(self) -> Checkpoint | None:
        """Sign what was sealed since the last checkpoint and write it outside; the newest one, None for an empty tree.

        Raises SealDiverged when the tree is no continuation of what was signed last, NoteInvalid when the outside
        checkpoint is not this log's, BlobError when a place failed: then the next call tries again.
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
        """The newest that this log's key has signed, outside or, not written there yet, in Postgres."""
        outside: Outside | None = await self._places.latest(self._signer.verifier)
        row = await self._database.row(QUERIES["newest_checkpoint"], {"size": None})
        found = [] if outside is None else [outside.checkpoint]
        if row is not None:
            try:
                found.append(self._signer.verifier.open(row["note"]))
            except NoteInvalid:  # another key's, of an instance this one was restored from
                log.info("checkpoint_of_another_key", size=row["size"])
        return max(found, key=lambda checkpoint: checkpoint.size, default=None)

    async def _write_outside(self) -> None:
        while rows := await self._database.rows(QUERIES["inside_checkpoints"], {"limit": _BATCH}):
            await self._copy_leaves(rows[-1]["size"])
            for row in rows:
                await self._places.put(Checkpoint.parse(text_of(row["note"])), row["note"])
            await self._database.execute(QUERIES["went_outside"], {"sizes": [row["size"] for row in rows]})

    async def _copy_leaves(self, size: int) -> None:
        """The tiles that grew since the last time: a checkpoint is written after the leaves it covers."""
        index = int(await self._database.value(QUERIES["outside_size"]) or 0) // WIDTH
        while index * WIDTH < size:
            rows = await self._database.rows(QUERIES["leaves"], {"from": index, "limit": _BATCH})
            for row in rows:
                await self._places.put_leaves(leaves(row))
            if not rows:
                return
            index = rows[-1]["index"] + 1


async def note_signing(database: Database, position: int | None, error: str) -> None:
    """Show beside the followers how far the log is signed (None: as before), and why no further."""
    await database.execute(QUERIES["note_signing"], {"name": SIGNING, "position": position, "error": error[:2000]})
